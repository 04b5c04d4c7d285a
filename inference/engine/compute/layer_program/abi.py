"""The form of a recorded program, as `native/program.h` has it."""

import ctypes
from enum import IntEnum

DIMENSIONS = 4
MOST_OPERANDS = 5

OPERATIONS = (
    "linear",
    "int8_linear",
    "attention",
    "gelu_tanh",
    "silu",
    "layer_norm",
    "mean",
    "add",
    "subtract",
    "multiply",
    "divide",
    "negate",
    "inverse_root",
    "relu",
    "copy",
)
"""What an instruction can do, in the order of their numbers."""


class Place(IntEnum):
    """Where a tensor's numbers are: at an address that never changes, in the workspace, or in an input."""

    FIXED = 0
    WORKSPACE = 1
    INPUT = 2


class Extent(ctypes.Structure):
    """A number that depends on how many rows a step has."""

    _fields_ = [("fixed", ctypes.c_int64), ("per_row", ctypes.c_int64)]


class Operand(ctypes.Structure):
    """A tensor: `base` is an address, or the number of an input; the offset is in bytes."""

    _fields_ = [
        ("place", ctypes.c_int64),
        ("base", ctypes.c_int64),
        ("offset", Extent),
        ("sizes", Extent * DIMENSIONS),
        ("strides", Extent * DIMENSIONS),
    ]


class Instruction(ctypes.Structure):
    """An operation on tensors, the last of which is its result."""

    _fields_ = [
        ("operation", ctypes.c_int64),
        ("whole", ctypes.c_int64),
        ("number", ctypes.c_double),
        ("operands", Operand * MOST_OPERANDS),
    ]


class Step(ctypes.Structure):
    """What a step brings along; whoever runs it sets the threads."""

    _fields_ = [
        ("rows", ctypes.c_int64),
        ("workspace", ctypes.c_void_p),
        ("inputs", ctypes.POINTER(ctypes.c_void_p)),
        ("pools", ctypes.POINTER(ctypes.c_void_p)),
        ("places", ctypes.c_int64),
        ("halves", ctypes.c_int64),
        ("single_rows", ctypes.c_void_p),
        ("single_count", ctypes.c_int64),
        ("blocks", ctypes.c_void_p),
        ("block_count", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]
