"""Memory for what every step reads, in huge pages if the system gives them on request (Linux).

With small pages address translation takes a part of a step's time.
"""

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress

import torch

HUGE_PAGE = 1 << 21
_CHUNK = 32 * HUGE_PAGE
_LINE = 64
"""Bytes of a cache line."""


class WeightMemory:
    """Allocates tensors one after the other, in chunks. A chunk is freed with the last tensor in it."""

    def __init__(self) -> None:
        self._chunk = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A dense tensor with undefined content."""
        size = math.prod(shape) * dtype.itemsize
        if self._used + size > len(self._chunk):
            self._chunk, self._used = huge_pages(max(size, _CHUNK)), 0
        allocated = self._chunk[self._used : self._used + size]
        self._used += -(-size // _LINE) * _LINE
        return allocated.view(dtype).view(shape)


def huge_pages(size: int) -> torch.Tensor:
    """At least `size` bytes, aligned to a huge page. The system provides them as they are written."""
    pages = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # the system has no huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    chunk = torch.frombuffer(pages, dtype=torch.uint8)
    return chunk[-chunk.data_ptr() % HUGE_PAGE :]
