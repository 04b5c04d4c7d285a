"""The binary interface between Python and the kernels, as `abi.h` has it, which says what each field is.

The library reports its own layout; `kernels.py` refuses one that differs.
"""

import ctypes
from enum import IntEnum
from itertools import zip_longest
from typing import Any, Self

DIMENSIONS = 4

_pointer, _int, _double = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double
_Fields = list[tuple[str, Any]]


def _ints(*names: str) -> _Fields:
    return [(name, _int) for name in names]


def _pointers(*names: str) -> _Fields:
    return [(name, _pointer) for name in names]


class WeightType(IntEnum):
    """In which type a linear layer's weights are kept, by PyTorch's names."""

    FLOAT32 = 0
    BFLOAT16 = 1
    FLOAT16 = 2


class LinearCall(ctypes.Structure):
    """A linear layer with products and sums in float32."""

    _fields_ = _pointers("weights", "bias", "x", "out") + _ints(
        "weight_type", "rows", "depth", "width", "threads"
    )


class BFloat16LinearCall(ctypes.Structure):
    """A linear layer with products in bfloat16."""

    _fields_ = _pointers("weights", "bias", "x", "out") + _ints("rows", "depth", "width", "threads")


class Int8LinearCall(ctypes.Structure):
    """A linear layer in 8 bits."""

    _fields_ = _pointers("weights", "scales", "bias", "x", "out") + _ints("rows", "depth", "width", "threads")


class Int4LinearCall(ctypes.Structure):
    """A linear layer with weights in 4 bits."""

    _fields_ = _pointers("weights", "group_scales", "scales", "bias", "x", "out") + _ints(
        "rows", "depth", "width", "threads"
    )


class Int4PackCall(ctypes.Structure):
    """The quantisation of weights to 4 bits."""

    _fields_ = _pointers("from", "weights", "group_scales", "scales") + _ints("channels", "depth", "threads")


class ActivationCall(ctypes.Structure):
    """An activation, element by element."""

    _fields_ = _pointers("x", "out") + _ints("rows", "width", "threads")


class DrawCall(ctypes.Structure):
    """The draw of a token from one row of logits."""

    _fields_ = [
        *(("logits", _pointer), ("allowed", _pointer), ("count", _int), ("top_k", _int)),
        *((name, _double) for name in ("temperature", "top_p", "min_p", "number")),
    ]


class Strides(ctypes.Structure):
    """In numbers, between rows and between heads."""

    _fields_ = _ints("row", "head")


class NewRows(ctypes.Structure):
    """What a step's rows bring along: queries, keys and values."""

    _fields_ = [
        *(("queries", _pointer), ("query", Strides)),
        *(("keys", _pointer), ("key", Strides)),
        *(("values", _pointer), ("value", Strides)),
    ]


class Shape(ctypes.Structure):
    """The heads of attention, and the dimensions of a key and of a value."""

    _fields_ = _ints("heads", "kv_heads", "dim", "value_dim")


class Cache(ctypes.Structure):
    """A layer's part of the KV cache."""

    _fields_ = _pointers("keys", "values") + _ints("float16")


class Tile(ctypes.Structure):
    """Consecutive rows of a sequence in one block; an int64 tensor `[count, 4]` is an array of them."""

    _fields_ = _ints("row", "rows", "past", "table")


class AttentionCall(ctypes.Structure):
    """Attention of a step's rows over the KV cache."""

    _fields_ = [
        *(("rows", NewRows), ("cache", Cache), ("shape", Shape)),
        *(("tiles", _pointer), ("tile_count", _int), ("tables", _pointer)),
        *(("scale", _double), ("out", _pointer), ("threads", _int)),
    ]


class Memory(IntEnum):
    """Where a tensor's numbers are: at an address that never changes, in the workspace, or in an input."""

    FIXED = 0
    WORKSPACE = 1
    INPUT = 2


class Extent(ctypes.Structure):
    """A number that depends on how many rows a step has."""

    _fields_ = _ints("fixed", "per_row")


class Operand(ctypes.Structure):
    """A tensor: `base` is an address, or the number of an input; the offset is in bytes."""

    _fields_ = [
        *(("memory", _int), ("base", _int), ("offset", Extent)),
        *(("sizes", Extent * DIMENSIONS), ("strides", Extent * DIMENSIONS)),
    ]


def _operands(*names: str) -> _Fields:
    return [(name, Operand) for name in names]


class LinearOperands(ctypes.Structure):
    """Of `linear`."""

    _fields_ = [*_operands("weights", "bias", "x", "out"), ("weight_type", _int)]


class BFloat16LinearOperands(ctypes.Structure):
    """Of `bfloat16_linear`."""

    _fields_ = _operands("weights", "bias", "x", "out")


class Int8LinearOperands(ctypes.Structure):
    """Of `int8_linear`."""

    _fields_ = _operands("weights", "scales", "bias", "x", "out")


class Int4LinearOperands(ctypes.Structure):
    """Of `int4_linear`."""

    _fields_ = _operands("weights", "group_scales", "scales", "bias", "x", "out")


class AttentionOperands(ctypes.Structure):
    """Of `attention`, whose keys and values are those numbered `pool_pair` among a step's pools."""

    _fields_ = [*_operands("query", "key", "value", "out"), ("pool_pair", _int), ("scale", _double)]


class LayerNormOperands(ctypes.Structure):
    """Of `layer_norm`."""

    _fields_ = [*_operands("x", "weight", "bias", "out"), ("epsilon", _double)]


class UnaryOperands(ctypes.Structure):
    """Of an operation on one tensor."""

    _fields_ = _operands("x", "out")


class BinaryOperands(ctypes.Structure):
    """Of an operation on two tensors."""

    _fields_ = _operands("left", "right", "out")


_OPERANDS: dict[str, Any] = {
    "linear": LinearOperands,
    "bfloat16_linear": BFloat16LinearOperands,
    "int8_linear": Int8LinearOperands,
    "int4_linear": Int4LinearOperands,
    "attention": AttentionOperands,
    "gelu_tanh": UnaryOperands,
    "silu": UnaryOperands,
    "layer_norm": LayerNormOperands,
    "mean": UnaryOperands,
    "add": BinaryOperands,
    "subtract": BinaryOperands,
    "multiply": BinaryOperands,
    "divide": BinaryOperands,
    "negate": UnaryOperands,
    "inverse_root": UnaryOperands,
    "relu": UnaryOperands,
    "copy": UnaryOperands,
}

OPERATIONS = tuple(_OPERANDS)
"""What an instruction can do, in the order of their numbers."""


class Operands(ctypes.Union):
    """The member with the operation's name holds."""

    _fields_ = list(_OPERANDS.items())


class Instruction(ctypes.Structure):
    """An operation and its operands."""

    _fields_ = [*_ints("operation", "follows"), ("operands", Operands)]

    @classmethod
    def of(cls, operation: str, **operands: Operand | float) -> Self:
        """Make an instruction.

        Raises:
            TypeError: these are not the operands of this operation; ctypes itself would take other names for
                new attributes, and leave the operands zero.
        """
        kind = _OPERANDS[operation]
        wanted = {name for name, *_ in kind._fields_}
        if wanted != operands.keys():
            raise TypeError(f"{operation} takes {sorted(wanted)}, not {sorted(operands)}")
        return cls(OPERATIONS.index(operation), False, Operands(**{operation: kind(**operands)}))


class Step(ctypes.Structure):
    """What a step brings along; `Kernels.run` sets the threads."""

    _fields_ = [
        *(("rows", _int), ("workspace", _pointer)),
        *(("inputs", ctypes.POINTER(_pointer)), ("pools", ctypes.POINTER(_pointer))),
        ("float16", _int),
        *(("tiles", _pointer), ("tile_count", _int), ("tables", _pointer)),
        ("threads", _int),
    ]


_STRUCTURES: tuple[Any, ...] = (
    *(LinearCall, BFloat16LinearCall, Int8LinearCall, Int4LinearCall, Int4PackCall),
    *(ActivationCall, DrawCall),
    *(Strides, NewRows, Shape, Cache, Tile, AttentionCall),
    *(Extent, Operand, LinearOperands, BFloat16LinearOperands, Int8LinearOperands, Int4LinearOperands),
    *(AttentionOperands, LayerNormOperands),
    *(UnaryOperands, BinaryOperands, Instruction, Step),
)


def layout() -> list[str]:
    """The lines that `abi_layout` of a library must report."""
    return [
        *(_described(structure) for structure in _STRUCTURES),
        " ".join(["operations", *(f"{name}:{kind.__name__}" for name, kind in _OPERANDS.items())]),
        " ".join(["memories", *(memory.name.lower() for memory in Memory)]),
        " ".join(["weight_types", *(kind.name.lower() for kind in WeightType)]),
    ]


def _described(structure: Any) -> str:
    fields = [(name, getattr(structure, name)) for name, *_ in structure._fields_]
    laid_out = [f"{name}:{field.offset}:{field.size}" for name, field in fields]
    return " ".join([structure.__name__, str(ctypes.sizeof(structure)), *laid_out])


def difference(library: ctypes.CDLL) -> str | None:
    """The first structure of which the library has another layout than `abi.py`, or None."""
    library.abi_layout.restype = ctypes.c_char_p
    reported = library.abi_layout().decode().splitlines()
    for theirs, ours in zip_longest(reported, layout(), fillvalue="nothing"):
        if theirs != ours:
            return f"has the layout {theirs!r} where abi.py has {ours!r}"
    return None
