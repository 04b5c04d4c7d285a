"""JSON Schemas of others through the service: how many texts fit, and what holding them to it costs.

`python -m benchmarks.structured FILE --url URL --key KEY --model FOLDER` asks a running service for a text of
each schema of FILE, one JSON object a line with `schema`. The service should be the quick start's, with
LLM_SPECULATION=off, because gaps are counted in its steps, and serve nobody else.
"""

import argparse
import json
import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import httpx

from benchmarks.structured.compiling import longest_gaps
from benchmarks.structured.masks import mask_times_s
from benchmarks.structured.service import Service


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", type=Path, help="folder of the model that it serves, to time the masks")
    parser.add_argument("--max-tokens", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=200, help="of each request that is timed")
    parser.add_argument("--rounds", type=int, default=3, help="of the throughput, without and with a schema")
    parser.add_argument("--schemas", type=int, help="only this many, from the first on")
    options = parser.parse_args(argv)
    lines = options.file.read_text().splitlines()[: options.schemas]
    schemas = [json.loads(line)["schema"] for line in lines]
    headers = {"Authorization": f"Bearer {options.key}"}
    with httpx.Client(base_url=options.url, headers=headers, timeout=600) as client:
        service = Service(client)
        compiling = [service.compile_s(schema) for schema in schemas]
        outcomes = service.outcomes(schemas, max_tokens=options.max_tokens)
        compiled = [schema for schema, one in zip(schemas, outcomes, strict=True) if one.kind != "refused"]
        gaps = longest_gaps(service, compiled, tokens=options.tokens)
        for held in (False, True):  # the first requests open the connections
            service.tokens_per_s(held=held, tokens=1)
        rates = [
            [service.tokens_per_s(held=held, tokens=options.tokens) for held in (False, True)]
            for _ in range(options.rounds)
        ]
    counts = Counter(one.kind for one in outcomes)
    for name in ("valid", "truncated", "refused", "invalid", "error"):
        print(f"{name:>10}: {counts[name]}")
    print(f"  compiled: p50 {_percentile(compiling, 50):.0f} ms, p99 {_percentile(compiling, 99):.0f} ms")
    if options.model:
        texts = [(schema, one.text) for schema, one in zip(schemas, outcomes, strict=True) if one.text]
        masks = mask_times_s(options.model, texts)
        mean_us, p99_us = 1e6 * statistics.mean(masks), 1e3 * _percentile(masks, 99)
        print(f"      mask: mean {mean_us:.0f} µs, p99 {p99_us:.0f} µs, of {len(masks)} in this process")
    print(
        f"longest gap of a request without a schema: {gaps.compiling:.1f} steps while others compile, "
        f"{gaps.known:.1f} while they ask without compiling, {gaps.free:.1f} while they ask without a schema"
    )
    print(
        f"so it grows by {gaps.compiling - gaps.free:.1f} steps because the others compile, and by "
        f"{gaps.known - gaps.free:.1f} because their texts are held to schemas"
    )
    free, held = (statistics.median(rate) for rate in zip(*rates, strict=True))
    ratio = statistics.median(with_schema / without for without, with_schema in rates)
    print(
        f"throughput: {free:.0f} tokens/s without, {held:.0f} with a schema; "
        f"ratio {ratio:.3f}, the median of {len(rates)} rounds"
    )


def _percentile(seconds: Sequence[float], percent: int) -> float:
    """In milliseconds."""
    return 1000 * statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    main()
