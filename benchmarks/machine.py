"""The machine: its memory bandwidth and float32 arithmetic, measured, and its description."""

import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

_BUFFER_BYTES = 1 << 29
"""Larger than any cache."""
_SIDE = 2048


@dataclass(frozen=True, kw_only=True)
class Power:
    """Bytes read from memory and float32 operations, both per second."""

    bytes_per_s: float
    flops_per_s: float


_Result = TypeVar("_Result")


def in_thread(function: Callable[[], _Result]) -> _Result:
    """Call `function` in a thread that ends with it, and return its result."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function).result()


class Meter:
    """Measures in this process, with the contenders' number of threads.

    It computes in threads that end afterwards, because a living thread keeps its OpenMP threads, which would
    compete with an engine in the same process.

    Args:
        buffer_bytes: bytes read at a time; a buffer smaller than the CPU's caches measures the caches.
        clock: the process's CPU time with one thread leaves out what other programs take.
    """

    def __init__(
        self,
        *,
        threads: int,
        buffer_bytes: int = _BUFFER_BYTES,
        side: int = _SIDE,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._threads = threads
        self._clock = clock
        in_thread(lambda: self._prepare(buffer_bytes, side))

    def _prepare(self, buffer_bytes: int, side: int) -> None:
        import torch

        torch.set_num_threads(self._threads)
        generator = torch.Generator().manual_seed(0)
        self._buffer = torch.ones(buffer_bytes // 4)
        self._rows = torch.randn((side, side), generator=generator)
        self._weight = torch.randn((side, side), generator=generator)
        self._packed: torch.Tensor | None = None
        if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(self._weight, side)

    def measure(self, *, repeats: int = 3) -> Power:
        """The best of several ways and repeats: what a program could have reached."""
        return in_thread(lambda: self._measure(repeats))

    def _measure(self, repeats: int) -> Power:
        import torch

        torch.set_num_threads(self._threads)
        matrix = self._buffer.view(-1, 1024)
        vector = self._buffer[:1024]
        reads: list[Callable[[], object]] = [self._buffer.sum, lambda: matrix @ vector]
        products: list[Callable[[], object]] = [lambda: self._rows @ self._weight]
        if self._packed is not None:
            products.append(self._packed_product)
        side = self._rows.shape[0]
        return Power(
            bytes_per_s=self._buffer.numel() * 4 / self._fastest(reads, repeats),
            flops_per_s=2 * side**3 / self._fastest(products, repeats),
        )

    def _packed_product(self) -> object:
        import torch

        return torch.ops.mkldnn._linear_pointwise(self._rows, self._packed, None, "none", [], "")

    def _fastest(self, kernels: list[Callable[[], object]], repeats: int) -> float:
        """Seconds of the fastest call."""
        taken = []
        for kernel in kernels:
            for _ in range(repeats):
                began = self._clock()
                kernel()
                taken.append(self._clock() - began)
        return min(taken)


def describe() -> dict[str, object]:
    """The CPU, its vector instructions, the usable CPUs, the memory, the system and Python."""
    cpu: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines():
            name, _, value = line.partition(":")
            cpu[name.strip()] = value.strip()
    except OSError:
        pass
    flags = set(cpu.get("flags", "").split())
    told = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    return {
        "cpu": cpu.get("model name") or platform.processor() or platform.machine(),
        "instructions": [flag for flag in told if flag in flags],
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }
