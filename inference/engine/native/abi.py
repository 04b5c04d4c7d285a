"""The calls of the kernels in the binary interface that `abi.h` states, which says what each field is.

`instructions.py` has the rest of the interface, that of layer programs.
"""

import ctypes
from enum import IntEnum
from typing import Any, Self

from numpy.typing import NDArray

pointer, integer, double = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
Fields = list[tuple[str, Any]]

PANEL = 16
"""Output channels whose weights the native kernels read together."""


def integers(*names: str) -> Fields:
    """Fields of whole numbers."""
    return [(name, integer) for name in names]


def pointers(*names: str) -> Fields:
    """Fields of addresses."""
    return [(name, pointer) for name in names]


class WeightType(IntEnum):
    """In which type a linear layer's weights are kept, by PyTorch's names."""

    FLOAT32 = 0
    BFLOAT16 = 1
    FLOAT16 = 2

    @classmethod
    def of(cls, dtype: Any) -> Self:
        """That of a dtype of PyTorch or NumPy."""
        return cls[str(dtype).removeprefix("torch.").upper()]


class CacheType(IntEnum):
    """In which type keys and values are kept, by PyTorch's names."""

    FLOAT32 = 0
    FLOAT16 = 1
    INT8 = 2

    @classmethod
    def of(cls, dtype: Any) -> Self:
        """That of a dtype of PyTorch or NumPy."""
        return cls[str(dtype).removeprefix("torch.").upper()]


class LinearCall(ctypes.Structure):
    """A linear layer with products and sums in float32."""

    _fields_ = pointers("weights", "bias", "x", "out") + integers(
        "weight_type", "rows", "depth", "width", "threads"
    )


class BFloat16LinearCall(ctypes.Structure):
    """A linear layer with products in bfloat16."""

    _fields_ = pointers("weights", "bias", "x", "out") + integers("rows", "depth", "width", "threads")


class Int8LinearCall(ctypes.Structure):
    """A linear layer in 8 bits."""

    _fields_ = pointers("weights", "scales", "input_scales", "bias", "x", "out") + integers(
        "rows", "depth", "width", "group_chunks", "threads"
    )


class Int4LinearCall(ctypes.Structure):
    """A linear layer with weights in 4 bits."""

    _fields_ = pointers("weights", "group_scales", "scales", "bias", "x", "out") + integers(
        "rows", "depth", "width", "threads"
    )


class Int4PackCall(ctypes.Structure):
    """The quantisation of weights to 4 bits."""

    _fields_ = pointers("from", "importance", "weights", "group_scales", "scales") + integers(
        "channels", "depth", "threads"
    )


class ActivationCall(ctypes.Structure):
    """An activation, element by element."""

    _fields_ = pointers("x", "out") + integers("rows", "width", "threads")


class DrawCall(ctypes.Structure):
    """The draw of a token from one row of logits."""

    _fields_ = [
        *pointers("logits", "allowed"),
        *integers("allowed_count", "count", "top_k"),
        *((name, double) for name in ("temperature", "top_p", "min_p", "number")),
    ]


class ReadMask(ctypes.Structure):
    """What a mask tells; an int64 array `[count, 3]` is an array of them."""

    _fields_ = integers("tokens", "only", "ends")


class MasksCall(ctypes.Structure):
    """The reading of masks."""

    _fields_ = pointers("masks", "readable", "control_ids", "read") + integers("count", "words", "end")


class Strides(ctypes.Structure):
    """In numbers, between rows and between heads."""

    _fields_ = integers("row", "head")


class NewRows(ctypes.Structure):
    """What a step's rows bring along: queries, keys and values."""

    _fields_ = [
        *(("queries", pointer), ("query", Strides)),
        *(("keys", pointer), ("key", Strides)),
        *(("values", pointer), ("value", Strides)),
    ]


class Shape(ctypes.Structure):
    """The heads of attention, and the dimensions of a key and of a value."""

    _fields_ = integers("heads", "kv_heads", "dim", "value_dim")


class Cache(ctypes.Structure):
    """A layer's part of the KV cache."""

    _fields_ = pointers("keys", "values") + integers("key_block", "value_block", "type")

    @classmethod
    def of(cls, keys: NDArray[Any], values: NDArray[Any]) -> Self:
        """That of two arrays, as `KVCache.pools` makes them."""
        return cls(
            keys=keys.ctypes.data,
            values=values.ctypes.data,
            key_block=keys.strides[0] // keys.itemsize,
            value_block=values.strides[0] // values.itemsize,
            type=CacheType.of(keys.dtype),
        )


class Tile(ctypes.Structure):
    """Consecutive rows of a sequence in one block; an int64 tensor `[count, 4]` is an array of them."""

    _fields_ = integers("row", "rows", "past", "table")


class AttentionCall(ctypes.Structure):
    """Attention of a step's rows over the KV cache."""

    _fields_ = [
        *(("rows", NewRows), ("cache", Cache), ("shape", Shape)),
        *(("tiles", pointer), ("tile_count", integer), ("tables", pointer)),
        *(("scale", double), ("out", pointer), ("threads", integer)),
    ]
