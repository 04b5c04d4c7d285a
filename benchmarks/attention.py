"""Attention alone, in GPT-2 medium's shape, by the CPU time of one thread.

`python -m benchmarks.attention` computes a prompt, as a share of the best float32 rate of this thread, and a
step of several requests, in bytes of keys and values a second. Each round measures the machine too, and takes
every case in turn.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch

from benchmarks.machine import Meter, Power, describe
from benchmarks.results import markdown, progress, with_spread
from inference.engine.blocks import blocks_of
from inference.engine.compute.tiles import Tiles
from inference.engine.kv_cache import CachedLayer, KVCache
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment

HEADS, DIM = 16, 64
_LEAST_S = 0.1
"""A case is repeated for so long in a round."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """Segments of equal length, each after as many tokens as the others.

    Attributes:
        layers: how many layers take turns, so that a step's keys and values do not stay in the CPU's caches.
    """

    name: str
    dtype: np.dtype[np.floating]
    segments: int
    past: int
    rows: int
    layers: int = 1
    seconds: list[float] = field(default_factory=list)

    @property
    def flops(self) -> float:
        """Of what the rows may see, in one layer."""
        seen = self.segments * sum(self.past + row + 1 for row in range(self.rows))
        return 4 * HEADS * DIM * seen

    @property
    def read_bytes(self) -> float:
        """Keys and values, read once, in one layer."""
        return 2 * HEADS * DIM * self.dtype.itemsize * self.segments * (self.past + self.rows)

    def computation(self, kernels: Kernels) -> Callable[[], None]:
        """What computes one layer."""
        blocks = blocks_of(self.past + self.rows)
        cache = KVCache(blocks=blocks * self.segments, dtype=self.dtype)
        pools = cache.pools([CachedLayer(number, HEADS, DIM, DIM) for number in range(self.layers)])
        for pool in (pool for pair in pools for pool in pair):
            torch.from_numpy(pool).normal_()
        step = Tiles(
            [
                Segment([0] * self.rows, self.past, list(range(i * blocks, (i + 1) * blocks)))
                for i in range(self.segments)
            ]
        )
        rows = self.segments * self.rows
        query, key, value = torch.randn(3, 1, rows, HEADS, DIM).transpose(2, 3).unbind()
        out = torch.empty(rows, HEADS, DIM)
        turn = 0

        def compute() -> None:
            nonlocal turn
            turn = (turn + 1) % self.layers
            kernels.attention(
                *(query, key, value, pools[turn], out),
                tiles=step.tiles,
                tables=step.tables,
                layer=turn,
                scale=DIM**-0.5,
            )

        return compute


def measure(cases: list[Case], kernels: Kernels, *, rounds: int) -> list[Power]:
    """Measure the cases, and this thread's power in each round."""
    kernels.threads = 1
    meter = Meter(threads=1, clock=time.process_time)
    computations = [case.computation(kernels) for case in cases]
    powers = []
    for number in range(rounds):
        progress(f"Round {number + 1} of {rounds} ...")
        powers.append(meter.measure())
        for case, compute in zip(cases, computations, strict=True):
            compute()
            case.seconds.append(_cpu_seconds(compute))
    return powers


def _cpu_seconds(compute: Callable[[], None]) -> float:
    """The fastest call."""
    fastest, began = float("inf"), time.thread_time()
    while (before := time.thread_time()) < began + _LEAST_S or fastest == float("inf"):
        compute()
        fastest = min(fastest, time.thread_time() - before)
    return fastest


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--prompt", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--context", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args(argv)
    kernels = native.load()
    if kernels is None:
        raise SystemExit("The native kernels were not built: run python -m inference.engine.native.")
    cases = []
    for dtype in (np.dtype(np.float32), np.dtype(np.float16)):
        kept = dtype.name
        cases += [
            Case(name=f"prompt, {kept}", dtype=dtype, segments=1, past=0, rows=given.prompt),
            Case(name=f"drafts of 8, {kept}", dtype=dtype, segments=1, past=given.context, rows=8),
            Case(
                name=f"{given.requests} at context {given.context}, {kept}",
                dtype=dtype,
                segments=given.requests,
                past=given.context,
                rows=1,
                layers=12,
            ),
        ]
    powers = measure(cases, kernels, rounds=given.rounds)
    print(f"{describe()['cpu']}, one thread, {with_spread(p.flops_per_s / 1e9 for p in powers)} GFLOP/s")
    rows = [
        [
            case.name,
            with_spread(1000 * s for s in case.seconds),
            with_spread(case.flops / s / 1e9 for s in case.seconds),
            with_spread(case.flops / s / p.flops_per_s for s, p in zip(case.seconds, powers, strict=True)),
            with_spread(case.read_bytes / s / 1e9 for s in case.seconds),
        ]
        for case in cases
    ]
    print(markdown(["one layer", "ms", "GFLOP/s", "of the arithmetic", "GB/s"], rows))


if __name__ == "__main__":
    main()
