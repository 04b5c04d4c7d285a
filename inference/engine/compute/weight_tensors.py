"""Packed weights as tensors that lie side by side in huge pages."""

import math
from collections.abc import Sequence

import torch

from inference.engine.compute.weight_memory import HUGE_PAGE, huge_pages

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
            self._chunk, self._used = torch.from_numpy(huge_pages(max(size, _CHUNK))), 0
        allocated = self._chunk[self._used : self._used + size]
        self._used += -(-size // _LINE) * _LINE
        return allocated.view(dtype).view(shape)
