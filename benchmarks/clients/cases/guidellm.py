"""guidellm, a load generator made for LLM servers: every stream succeeds, and it finds its figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks.clients.client import Client, Served, ensure

client = Client("guidellm", package="guidellm")

SECONDS = 8
STREAMS = 4
PROMPT_TOKENS = 24
NEW_TOKENS = 12


@client.check
def completions(served: Served) -> str:
    """/v1/completions: 4 streams for 8 s, every request succeeds, with TTFT, ITL and throughput"""
    return _load(served, "/v1/completions")


@client.check
def chat(served: Served) -> str:
    """/v1/chat/completions: the same"""
    return _load(served, "/v1/chat/completions")


def _load(served: Served, endpoint: str) -> str:
    out = served.scratch / f"{Path(endpoint).name}.json"
    backend = f"kind=openai_http,target={served.url},api_key={served.key},model={served.model}"
    subprocess.run(
        [
            *(str(Path(sys.executable).with_name("guidellm")), "run", "--disable-progress"),
            *("--backend", f"{backend},request_format={endpoint}"),
            *("--profile", f"kind=concurrent,streams={STREAMS}"),
            *("--constraint", f"kind=max_duration,seconds={SECONDS}"),
            *("--tokenizer", f"kind=hf_auto,model={served.folder}"),
            *("--data", f"kind=synthetic_text,prompt_tokens={PROMPT_TOKENS},output_tokens={NEW_TOKENS}"),
            *("--output", f"kind=json,path={out}"),
        ],
        env={**os.environ, "GUIDELLM__MAX_WORKER_PROCESSES": "1"},  # by default it takes ten
        check=True,
    )
    [benchmark] = json.loads(out.read_text())["benchmarks"]
    metrics = benchmark["metrics"]
    requests = metrics["request_totals"]
    ensure(requests["errored"] == 0 and requests["successful"] > 0, requests)
    tokens = metrics["output_token_count"]["successful"]
    ensure(tokens["min"] == tokens["max"] == NEW_TOKENS, tokens)
    first, between, rate = (
        metrics[name]["successful"]["median"]
        for name in ("time_to_first_token_ms", "inter_token_latency_ms", "output_tokens_per_second")
    )
    ensure(first > 0 and between > 0 and rate > 0, [first, between, rate])
    return (
        f"{requests['successful']} requests; TTFT {first:.0f} ms, ITL {between:.0f} ms, {rate:.0f} tokens/s"
    )
