"""Where a step's time goes: `python -m benchmarks.step_profile --requests 16 --context 200`."""

import argparse
import time
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM

from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.results import progress
from inference.engine.compute_path import cpu_path
from inference.engine.config import Quantization, usable_cpus
from inference.engine.model import LanguageModel, Segment

_STEPS = 5
_LINES = 12


def step_profile(
    folder: Path, *, requests: int, context: int, threads: int, quantization: Quantization
) -> str:
    """One decode step of `requests` texts of `context` tokens, by operator: a table for people."""
    torch.set_num_threads(threads)
    progress("Loading ...")
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    places = (context + 1) * requests
    path = cpu_path(quantization)
    model = LanguageModel(stock, name="profile", kv_cache_tokens=max(256, places), path=path)
    segments = []
    for _ in range(requests):
        slots = model.cache.allocate(context + 1)
        assert slots is not None  # noqa: S101
        model.forward([Segment(list(range(context)), 0, slots)])
        segments.append(Segment([0], context, slots))
    progress("Measuring ...")
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        model.forward(segments)
        seconds.append(time.perf_counter() - began)
    with profile(activities=[ProfilerActivity.CPU]) as measured:
        for _ in range(_STEPS):
            model.forward(segments)
    table = measured.key_averages().table(sort_by="self_cpu_time_total", row_limit=_LINES)
    step = f"{sorted(seconds)[_STEPS // 2] * 1000:.1f} ms a step, the median of {_STEPS}; {_STEPS} of them:"
    return f"{step}\n{table}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--context", type=int, default=200)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--quantization", choices=("none", "int8"), default="none")
    parser.add_argument("--model", type=Path)
    options = parser.parse_args(arguments)
    print(
        step_profile(
            options.model or ensure_gpt2_medium(),
            requests=options.requests,
            context=options.context,
            threads=options.threads,
            quantization=options.quantization,
        )
    )


if __name__ == "__main__":
    main()
