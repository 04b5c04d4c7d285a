"""A decode step in several precisions, in turns in one process: `python -m benchmarks.precisions`.

By CPU time on one thread, the shortest of many: other work on the machine disturbs it least.
"""

import argparse
import time
from pathlib import Path
from typing import get_args

from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.results import markdown, progress
from benchmarks.served_model import decode_step, served_model
from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.config import EngineConfig, WeightDtype
from inference.engine.forward_pass import ForwardPass
from inference.engine.segment import Segment


def shortest_steps(
    folder: Path, dtypes: list[WeightDtype], *, requests: list[int], context: int, rounds: int
) -> dict[WeightDtype, list[float]]:
    """The seconds of CPU that a step takes, for each number of texts."""
    tokens = BLOCK * blocks_of(context + 1) * max(requests)
    models = {}
    for dtype in dtypes:
        progress(f"Loading {dtype} ...")
        config = EngineConfig(device="cpu", kv_cache_tokens=tokens, threads=1, dtype=dtype)
        models[dtype] = served_model(folder, config)
    texts = {
        dtype: decode_step(model, requests=max(requests), context=context) for dtype, model in models.items()
    }
    shortest: dict[WeightDtype, list[float]] = {dtype: [] for dtype in dtypes}
    for count in requests:
        progress(f"{count} requests ...")
        turns = [
            {dtype: _seconds(model, texts[dtype][:count]) for dtype, model in models.items()}
            for _ in range(rounds)
        ]
        for dtype in dtypes:
            shortest[dtype].append(min(turn[dtype] for turn in turns))
    return shortest


def _seconds(model: ForwardPass, segments: list[Segment]) -> float:
    began = time.thread_time()
    model.forward(segments)
    return time.thread_time() - began


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precisions", nargs="+", choices=get_args(WeightDtype), default=["int8", "int4"])
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--context", type=int, default=40, help="tokens before each")
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--model", type=Path, help="GPT-2 medium's shape where none is given")
    given = parser.parse_args(arguments)
    shortest = shortest_steps(
        given.model or ensure_gpt2_medium(),
        given.precisions,
        requests=given.requests,
        context=given.context,
        rounds=given.rounds,
    )
    first = shortest[given.precisions[0]]
    rows = [
        [dtype]
        + [f"{mine * 1000:.2f} ms, {other / mine:.2f}" for mine, other in zip(steps, first, strict=True)]
        for dtype, steps in shortest.items()
    ]
    print(f"CPU time of a step, and the speed relative to {given.precisions[0]}:\n")
    print(markdown(["requests", *map(str, given.requests)], rows))


if __name__ == "__main__":
    main()
