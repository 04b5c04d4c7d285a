"""The KV cache: keys and values of all running sequences. Memory is used only as blocks are filled."""

import math

import torch

from inference.engine.blocks import BLOCK, BlockPool
from inference.engine.compute.formats.weight_format import WeightFormat
from inference.engine.compute.weight_memory import huge_pages
from inference.engine.config import KVCacheDtype


def kv_cache_dtype(chosen: KVCacheDtype, weight_format: WeightFormat) -> torch.dtype:
    """The dtype that the operator chose, or the weight format's own for "auto"."""
    if chosen == "auto":
        return weight_format.kv_cache_dtype
    return torch.float16 if chosen == "float16" else torch.float32


class KVCache:
    """Keys and values of every layer, in float32 or float16.

    A block holds the keys and values of `BLOCK` tokens in all heads of a layer, side by side. Keys are
    `[blocks, kv_heads, dim, 16]`, so that attention computes with a number of 16 keys at once. Values are
    `[blocks, kv_heads, 16, dim]`, their dimension rounded up to 16. They are allocated when the layer is
    first used, so layers may have different shapes.

    Args:
        blocks: how many blocks there are.
    """

    def __init__(
        self, *, blocks: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> None:
        self.blocks = BlockPool(blocks)
        self.dtype = dtype
        self._device = device or torch.device("cpu")
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def pools(
        self, layer: int, heads: int, key_dim: int, value_dim: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's keys and values."""
        if layer not in self._layers:
            count, width = self.blocks.count, -(-value_dim // BLOCK) * BLOCK
            keys, values = (count, heads, key_dim, BLOCK), (count, heads, BLOCK, width)
            self._layers[layer] = (self._empty(keys), self._empty(values))
        return self._layers[layer]

    def _empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        if self._device.type != "cpu":
            return torch.empty(shape, dtype=self.dtype, device=self._device)
        size = math.prod(shape) * self.dtype.itemsize
        return huge_pages(size)[:size].view(self.dtype).view(shape)
