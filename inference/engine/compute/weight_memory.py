"""Memory for packed weights: side by side, in huge pages where the system has them for who asks (Linux).

Every step reads all weights, and in small pages looking up where they are takes a part of its time.
"""

import math
import mmap
from collections.abc import Sequence
from contextlib import suppress

import torch

_HUGE_PAGE = 1 << 21
_BLOCK = 32 * _HUGE_PAGE
_LINE = 64
"""Bytes of a line of the cache."""


class WeightMemory:
    """Gives tensors places one after the other, in blocks that live as long as a tensor in them does."""

    def __init__(self) -> None:
        self._block = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        """A dense tensor that holds anything."""
        size = math.prod(shape) * dtype.itemsize
        if self._used + size > len(self._block):
            self._block, self._used = _new_block(max(size, _BLOCK)), 0
        place = self._block[self._used : self._used + size]
        self._used += -(-size // _LINE) * _LINE
        return place.view(dtype).view(shape)


def _new_block(size: int) -> torch.Tensor:
    """At least `size` bytes, beginning with a huge page; taken from the system as they are written."""
    pages = mmap.mmap(-1, size + _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system that has none
            pages.madvise(mmap.MADV_HUGEPAGE)
    block = torch.frombuffer(pages, dtype=torch.uint8)
    return block[-block.data_ptr() % _HUGE_PAGE :]
