"""The KV cache: keys and values of all running sequences. Memory is used only as blocks are filled."""

import math

import torch

from inference.engine.blocks import BLOCK, BlockPool
from inference.engine.compute.formats.weight_format import WeightFormat
from inference.engine.compute.weight_memory import HUGE_PAGE, huge_pages
from inference.engine.config import KVCacheDtype
from inference.engine.errors import ModelUnavailable

_SCALE_BYTES = 4
"""In int8, of the scale that the key of a token has in each head, and of the scale of its value."""


def kv_cache_dtype(chosen: KVCacheDtype, weight_format: WeightFormat, *, native: bool) -> torch.dtype:
    """The dtype that the operator chose, or the weight format's own for "auto".

    Args:
        native: whether the native kernels compute attention; PyTorch's operators know no int8.

    Raises:
        ModelUnavailable: the operator chose what cannot be computed here.
    """
    if chosen == "auto":
        return weight_format.kv_cache_dtype
    if chosen == "int8" and not native:
        raise ModelUnavailable(
            "LLM_KV_CACHE_DTYPE=int8 needs a CPU and the native kernels: build them with a C++ compiler "
            "(python -m inference.engine.native), or set LLM_KV_CACHE_DTYPE=float16."
        )
    return {"float32": torch.float32, "float16": torch.float16, "int8": torch.int8}[chosen]


def bytes_per_head(key_dim: int, value_dim: int, dtype: torch.dtype) -> int:
    """What the key and the value of a token take in a head."""
    scales = 2 * _SCALE_BYTES if dtype is torch.int8 else 0
    return (key_dim + value_dim) * dtype.itemsize + scales


class KVCache:
    """Keys and values of every layer, in float32, float16 or int8.

    A block holds the keys and values of `BLOCK` tokens in all heads of a layer, side by side. Keys are
    `[blocks, kv_heads, dim, 16]`, so that attention computes with a number of 16 keys at once. Values are
    `[blocks, kv_heads, 16, dim]`, their dimension rounded up to 16. In int8 both are `[blocks, kv_heads,
    bytes]`, with the 16 tokens' scales in float32 after the numbers of a head. They are allocated when the
    layer is first used, so layers may have different shapes.

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
            keys: tuple[int, ...] = (count, heads, key_dim, BLOCK)
            values: tuple[int, ...] = (count, heads, BLOCK, width)
            if self.dtype is torch.int8:
                keys, values = ((count, heads, (dim + _SCALE_BYTES) * BLOCK) for dim in (key_dim, width))
            self._layers[layer] = (self._empty(keys), self._empty(values))
        return self._layers[layer]

    def _empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        if self._device.type != "cpu":
            return torch.empty(shape, dtype=self.dtype, device=self._device)
        size = math.prod(shape) * self.dtype.itemsize
        if size < HUGE_PAGE:  # one huge page for each of these would take several times their memory
            return torch.zeros(shape, dtype=self.dtype)
        return huge_pages(size)[:size].view(self.dtype).view(shape)
