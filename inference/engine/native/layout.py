"""The layout of the binary interface, in the words in which a library reports its own.

`kernels.py` refuses a library whose layout differs: without that, a field added on one side alone would be
read as another one.
"""

import ctypes
from itertools import zip_longest
from typing import Any

from inference.engine.native.abi import (
    ActivationCall,
    AttentionCall,
    BFloat16LinearCall,
    Cache,
    CacheType,
    DrawCall,
    Int4LinearCall,
    Int4PackCall,
    Int8LinearCall,
    LinearCall,
    MasksCall,
    NewRows,
    ReadMask,
    Shape,
    Strides,
    Tile,
    WeightType,
)
from inference.engine.native.instructions import OPERANDS, Extent, Instruction, Memory, Operand, Step

_STRUCTURES: tuple[Any, ...] = (
    *(LinearCall, BFloat16LinearCall, Int8LinearCall, Int4LinearCall, Int4PackCall),
    *(ActivationCall, DrawCall, ReadMask, MasksCall),
    *(Strides, NewRows, Shape, Cache, Tile, AttentionCall),
    *(Extent, Operand, *dict.fromkeys(OPERANDS.values()), Instruction, Step),
)


def layout() -> list[str]:
    """The lines that `abi_layout` of a library must report."""
    return [
        *(_described(structure) for structure in _STRUCTURES),
        " ".join(["operations", *(f"{name}:{kind.__name__}" for name, kind in OPERANDS.items())]),
        " ".join(["memories", *(memory.name.lower() for memory in Memory)]),
        " ".join(["weight_types", *(kind.name.lower() for kind in WeightType)]),
        " ".join(["cache_types", *(kind.name.lower() for kind in CacheType)]),
    ]


def _described(structure: Any) -> str:
    fields = [(name, getattr(structure, name)) for name, *_ in structure._fields_]
    laid_out = [f"{name}:{field.offset}:{field.size}" for name, field in fields]
    return " ".join([structure.__name__, str(ctypes.sizeof(structure)), *laid_out])


def difference(library: ctypes.CDLL) -> str | None:
    """The first structure of which the library has another layout, or None."""
    library.abi_layout.restype = ctypes.c_char_p
    reported = library.abi_layout().decode().splitlines()
    for theirs, ours in zip_longest(reported, layout(), fillvalue="nothing"):
        if theirs != ours:
            return f"has the layout {theirs!r} where abi.py or instructions.py has {ours!r}"
    return None
