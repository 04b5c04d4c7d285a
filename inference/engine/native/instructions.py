"""The instructions of layer programs in the binary interface; `abi.h` says what each field is."""

import ctypes
from enum import IntEnum
from typing import Self

from inference.engine.native.abi import Cache, Fields, double, integer, integers, pointer

DIMENSIONS = 4


class Memory(IntEnum):
    """Where a tensor's numbers are: at an address that never changes, in the workspace, or in an input."""

    FIXED = 0
    WORKSPACE = 1
    INPUT = 2


class Extent(ctypes.Structure):
    """A number that depends on how many rows a step has."""

    _fields_ = integers("fixed", "per_row")


class Operand(ctypes.Structure):
    """A tensor: `base` is an address, or the number of an input; the offset is in bytes."""

    _fields_ = [
        *(("memory", integer), ("base", integer), ("offset", Extent)),
        *(("sizes", Extent * DIMENSIONS), ("strides", Extent * DIMENSIONS)),
    ]


def _operands(*names: str) -> Fields:
    return [(name, Operand) for name in names]


class LinearOperands(ctypes.Structure):
    """Of `linear`."""

    _fields_ = [*_operands("weights", "bias", "x", "out"), ("weight_type", integer)]


class BFloat16LinearOperands(ctypes.Structure):
    """Of `bfloat16_linear`."""

    _fields_ = _operands("weights", "bias", "x", "out")


class Int8LinearOperands(ctypes.Structure):
    """Of `int8_linear`."""

    _fields_ = [
        *_operands("weights", "scales", "input_scales", "bias", "x", "out"),
        ("group_chunks", integer),
    ]


class Int4LinearOperands(ctypes.Structure):
    """Of `int4_linear`."""

    _fields_ = _operands("weights", "group_scales", "scales", "bias", "x", "out")


class AttentionOperands(ctypes.Structure):
    """Of `attention`; `cache` is the number of its keys and values among a step's caches."""

    _fields_ = [*_operands("query", "key", "value", "out"), ("cache", integer), ("scale", double)]


class LayerNormOperands(ctypes.Structure):
    """Of `layer_norm`."""

    _fields_ = [*_operands("x", "weight", "bias", "out"), ("epsilon", double)]


class UnaryOperands(ctypes.Structure):
    """Of an operation on one tensor."""

    _fields_ = _operands("x", "out")


class BinaryOperands(ctypes.Structure):
    """Of an operation on two tensors."""

    _fields_ = _operands("left", "right", "out")


OPERANDS: dict[str, type[ctypes.Structure]] = {
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
"""What each operation takes, in the order of their numbers."""

OPERATIONS = tuple(OPERANDS)
"""What an instruction can do."""


class Operands(ctypes.Union):
    """The member with the operation's name holds."""

    _fields_ = list(OPERANDS.items())


class Instruction(ctypes.Structure):
    """An operation and its operands."""

    _fields_ = [*integers("operation", "follows"), ("operands", Operands)]

    @classmethod
    def of(cls, operation: str, **operands: Operand | float) -> Self:
        """Make an instruction.

        Raises:
            TypeError: these are not the operands of this operation; ctypes itself would take other names for
                new attributes, and leave the operands zero.
        """
        kind = OPERANDS[operation]
        wanted = {name for name, *_ in kind._fields_}
        if wanted != operands.keys():
            raise TypeError(f"{operation} takes {sorted(wanted)}, not {sorted(operands)}")
        return cls(OPERATIONS.index(operation), False, Operands(**{operation: kind(**operands)}))


class Step(ctypes.Structure):
    """What a step brings along; `Kernels.run` sets the threads."""

    _fields_ = [
        *(("rows", integer), ("workspace", pointer)),
        *(("inputs", ctypes.POINTER(pointer)), ("caches", ctypes.POINTER(Cache))),
        *(("tiles", pointer), ("tile_count", integer), ("tables", pointer)),
        ("threads", integer),
    ]
