"""Choosing the next token: microseconds a row of logits, with NumPy and with the native kernels.

`python -m benchmarks.sampling` draws from rows of GPT-2's vocabulary, as many as a step of 64 requests has.
"""

import argparse
import time

import numpy as np

from benchmarks.machine import describe
from inference.engine.native import kernels as native
from inference.engine.request import SamplingParams
from inference.engine.sampler import Sampler, draw

VOCABULARY = 50257
MODES = {
    "greedy": SamplingParams(do_sample=False),
    "top-k 50, temperature 0.7": SamplingParams(),
    "top-k 50, top-p 0.9": SamplingParams(top_p=0.9),
    "all tokens, temperature 1": SamplingParams(temperature=1.0, top_k=0),
    "top-p 0.9": SamplingParams(temperature=1.0, top_k=0, top_p=0.9),
    "min-p 0.05": SamplingParams(temperature=1.0, top_k=0, min_p=0.05),
    "top-k 50, repetition penalty 1.2": SamplingParams(repetition_penalty=1.2),
}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    kernels = native.load()
    if kernels is None:
        raise SystemExit("The native kernels were not built: run python -m inference.engine.native.")
    random = np.random.default_rng(0)
    rows = (random.standard_normal((args.rows, VOCABULARY)) * 4).astype(np.float32)
    history = list(range(300))
    print(f"{describe()['cpu']}, one thread")
    print(
        f"| {'Microseconds a row, the fastest round':37} | NumPy | native |\n| {'-' * 37} | ----: | -----: |"
    )
    for name, params in MODES.items():
        fastest = dict.fromkeys((draw, kernels.draw), float("inf"))
        for _ in range(args.rounds):
            for drawing in fastest:
                samplers = [Sampler(params, prompt_tokens=10, draw=drawing) for _ in rows]
                began = time.perf_counter()
                for sampler, row in zip(samplers, rows, strict=True):
                    sampler.choose(row, history)
                fastest[drawing] = min(fastest[drawing], time.perf_counter() - began)
        numpy_us, native_us = (1e6 * taken / len(rows) for taken in fastest.values())
        print(f"| {name:37} | {numpy_us:5.0f} | {native_us:6.0f} |")


if __name__ == "__main__":
    main()
