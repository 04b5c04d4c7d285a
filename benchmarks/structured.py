"""JSON Schemas of others through the service: how many texts fit, and what holding them to it costs.

`python -m benchmarks.structured FILE --url URL --key KEY` asks a running service for a text of each schema of
FILE, one JSON object a line with `schema`. The service should be the quick start's, and serve nobody else.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
from jsonschema import Draft202012Validator
from jsonschema.validators import validator_for
from referencing import Registry

_AT_ONCE = 16
_PROMPT = "Answer with a short JSON value that fits the schema.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", required=True)
    parser.add_argument("--max-tokens", type=int, default=512)
    options = parser.parse_args()
    schemas = [json.loads(line)["schema"] for line in options.file.read_text().splitlines()]
    with httpx.Client(
        base_url=options.url, headers={"Authorization": f"Bearer {options.key}"}, timeout=600
    ) as client:
        model = client.get("/v1/models").raise_for_status().json()["data"][0]["id"]
        service = _Service(client, model)
        compiling = [service.compile_s(schema) for schema in schemas]
        outcomes = Counter(service.outcomes(schemas, max_tokens=options.max_tokens))
        free, held = service.tokens_per_s(None), service.tokens_per_s({"type": "array", "minItems": 400})
    for name in ("valid", "truncated", "refused", "invalid", "error"):
        print(f"{name:>10}: {outcomes[name]}")
    percentiles = statistics.quantiles(compiling, n=100)
    print(f"  compiled: p50 {percentiles[49] * 1000:.0f} ms, p99 {percentiles[98] * 1000:.0f} ms")
    print(f"throughput: {free:.0f} tokens/s without, {held:.0f} with a schema ({held / free - 1:+.1%})")


class _Service:
    def __init__(self, client: httpx.Client, model: str) -> None:
        self._client = client
        self._model = model

    def compile_s(self, schema: Any) -> float:
        """How much longer the first request with a schema takes than the next."""
        times = []
        for _ in range(2):
            began = time.perf_counter()
            self._ask(schema, max_tokens=1, seed=1)
            times.append(time.perf_counter() - began)
        return max(0.0, times[0] - times[1])

    def outcomes(self, schemas: Iterable[Any], *, max_tokens: int) -> list[str]:
        """What came of each schema, of 16 at once."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return list(pool.map(lambda schema: self._outcome(schema, max_tokens), schemas))

    def tokens_per_s(self, schema: Any) -> float:
        """Of 16 requests at once, each of 200 tokens."""
        began = time.perf_counter()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            answers = list(pool.map(lambda i: self._ask(schema, max_tokens=200, seed=i), range(_AT_ONCE)))
        tokens = sum(answer.json()["usage"]["completion_tokens"] for answer in answers)
        return float(tokens / (time.perf_counter() - began))

    def _outcome(self, schema: Any, max_tokens: int) -> str:
        answer = self._ask(schema, max_tokens=max_tokens, seed=1)
        if answer.status_code == 400:
            error = answer.json()["error"]
            print(f"  {error['message'][:100]}")
            return "refused" if error["code"] == "invalid_grammar" else "error"
        if answer.status_code != 200:
            print(f"  {answer.text[:100]}")
            return "error"
        [choice] = answer.json()["choices"]
        if choice["finish_reason"] == "length":
            return "truncated"
        return "valid" if _fits(choice["text"], schema) else "invalid"

    def _ask(self, schema: Any, *, max_tokens: int, seed: int) -> httpx.Response:
        body = {"model": self._model, "prompt": _PROMPT, "temperature": 0.7, "seed": seed}
        held = {"ignore_eos": True} if schema is None else {"structured_outputs": {"json": schema}}
        return self._client.post("/v1/completions", json={**body, **held, "max_tokens": max_tokens})


def _fits(text: str, schema: Any) -> bool:
    kind: Any = validator_for(schema, default=Draft202012Validator)
    checker = kind(schema, format_checker=kind.FORMAT_CHECKER, registry=Registry())
    try:
        return bool(checker.is_valid(json.loads(text)))
    except ValueError:
        return False


if __name__ == "__main__":
    main()
