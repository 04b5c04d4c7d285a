"""The KV cache: keys and values of all running sequences. Memory is used only as blocks are filled."""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from inference.engine.blocks import BLOCK, BlockPool
from inference.engine.compute.requirements import check_kv_cache
from inference.engine.compute.weight_memory import HUGE_PAGE, huge_pages
from inference.engine.config import KVCacheDtype

if TYPE_CHECKING:
    from inference.engine.compute.formats.weight_format import WeightFormat

Pools = tuple[NDArray[Any], NDArray[Any]]
"""The keys and the values of a layer."""

_FLOAT32, _INT8 = np.dtype(np.float32), np.dtype(np.int8)
_LINE = 64
"""Bytes of a cache line."""
_SCALE_BYTES = 4
"""In int8, of the scale that the key of a token has in each head, and of the scale of its value."""
_PADDING_BYTES = 2048
"""After a block of all layers, lest blocks meet in a few places of the CPU's caches with what a head has."""


def kv_cache_dtype(chosen: KVCacheDtype, weight_format: "WeightFormat", *, native: bool) -> np.dtype[Any]:
    """The dtype that the operator chose, or the weight format's own for "auto".

    Args:
        native: whether the native kernels compute attention; PyTorch's operators know no int8.

    Raises:
        ModelUnavailable: the operator chose what cannot be computed here.
    """
    if chosen == "auto":
        return weight_format.kv_cache_dtype
    check_kv_cache(chosen, native=native)
    return np.dtype(chosen)


def bytes_per_head(key_dim: int, value_dim: int, dtype: np.dtype[Any]) -> int:
    """What the key and the value of a token take in a head."""
    scales = 2 * _SCALE_BYTES if dtype == _INT8 else 0
    return (key_dim + value_dim) * dtype.itemsize + scales


class CachedLayer(NamedTuple):
    """A layer of the KV cache.

    Attributes:
        number: of the layer in its model.
        heads: of its keys and values.
        key_dim, value_dim: what a key and a value have in a head.
    """

    number: int
    heads: int
    key_dim: int
    value_dim: int


def bytes_of_token(layers: Sequence[CachedLayer], dtype: np.dtype[Any]) -> int:
    """What a token takes in all layers."""
    return sum(layer.heads * bytes_per_head(layer.key_dim, layer.value_dim, dtype) for layer in layers)


class KVCache:
    """Keys and values of every layer, in float32, float16 or int8.

    A block holds the keys and values of `BLOCK` tokens in all heads of all layers. Of a layer, keys are
    `[blocks, kv_heads, dim, 16]`, so that attention computes with a number of 16 keys at once. Values are
    `[blocks, kv_heads, 16, dim]`, their dimension rounded up to 16. In int8 both are `[blocks, kv_heads,
    bytes]`, with the 16 tokens' scales in float32 after the numbers of a head. They are allocated when the
    layers are first used, so layers may have different shapes. It is the host's memory; `TensorCache` has
    the same for PyTorch's operators.

    Args:
        blocks: how many blocks there are.
    """

    def __init__(self, *, blocks: int, dtype: np.dtype[Any] = _FLOAT32) -> None:
        self.blocks = BlockPool(blocks)
        self.dtype = dtype
        self._pools: dict[int, Pools] = {}

    def pools(self, layers: Sequence[CachedLayer]) -> list[Pools]:
        """The keys and the values of each of these layers.

        What a block has in all layers that are first used in the same call lies side by side: few blocks then
        take few huge pages.
        """
        new = {layer.number: layer for layer in layers if layer.number not in self._pools}
        shapes = [shape for layer in new.values() for shape in self.shapes(layer)]
        # Of one layer, both are dense, as PyTorch's operators take them without a copy.
        groups = [shapes] if len(new) > 1 else [[shape] for shape in shapes]
        pools = iter([pool for group in groups for pool in self._allocate(group)])
        self._pools.update(zip(new, zip(pools, pools, strict=True), strict=True))
        return [self._pools[layer.number] for layer in layers]

    def shapes(self, layer: CachedLayer) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What a block has of the layer's keys and of its values."""
        width = -(-layer.value_dim // BLOCK) * BLOCK
        if self.dtype == _INT8:
            keys, values = ((layer.heads, (dim + _SCALE_BYTES) * BLOCK) for dim in (layer.key_dim, width))
            return keys, values
        return (layer.heads, layer.key_dim, BLOCK), (layer.heads, BLOCK, width)

    def _allocate(self, shapes: list[tuple[int, ...]]) -> list[NDArray[Any]]:
        """A pool for each of these shapes of a block, side by side in each block."""
        count = self.blocks.count
        sizes = [math.prod(shape) for shape in shapes]
        padding = _PADDING_BYTES // self.dtype.itemsize if len(shapes) > 1 else 0
        size = count * (sum(sizes) + padding) * self.dtype.itemsize
        # Small ones are no huge page each, which would take several times their memory.
        memory = _small(size) if size < HUGE_PAGE else huge_pages(size)[:size]
        parts = np.split(memory.view(self.dtype).reshape(count, -1), list(accumulate(sizes)), axis=1)
        return [part.reshape(count, *shape) for part, shape in zip(parts[:-1], shapes, strict=True)]


def _small(size: int) -> NDArray[np.uint8]:
    """Zeros that begin at a cache line."""
    memory = np.zeros(size + _LINE, dtype=np.uint8)
    return memory[-memory.ctypes.data % _LINE :][:size]
