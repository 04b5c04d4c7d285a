"""A layer program in a file, beside the packed weights that it computes with.

Recording a program takes longer than reading most models. An instruction names weights by their address, so a
file has the offset in the memory of the weights instead.
"""

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engine.compute.layer_program.compiler import Program
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.compute.packed.tensor_file import TensorWriter, array_at
from inference.engine.compute.packed.tensors import tensor_at
from inference.engine.kv_cache import CachedLayer
from inference.engine.native.instructions import OPERANDS, OPERATIONS, Instruction, Memory, Operand

_IN_WEIGHTS = -1
"""In place of the number of a constant."""


@dataclass(frozen=True)
class Prepared:
    """What a start has found out about a model, and the next need not.

    Attributes:
        program: what the model's layers do.
        reproducible: a row has the same bits alone and among others.
    """

    program: Program
    reproducible: bool


class KeptProgram:
    """The layer program of the packed weights with a key.

    Args:
        weights: the memory that they are in.
    """

    def __init__(self, store: PackedWeights, key: str, weights: NDArray[np.uint8]) -> None:
        self._store = store
        self._key = key
        self._weights = weights

    def read(self, cache_dtype: np.dtype[Any]) -> Prepared | None:
        """What was written for a KV cache of this type; None if nothing was, or not for this type."""
        packed = self._store.read_program(self._key)
        if packed is None or packed.description["cache_dtype"] != str(cache_dtype):
            return None
        kept = packed.description
        code = array_at(packed.memory, kept["instructions"])
        instructions = (Instruction * (code.nbytes // ctypes.sizeof(Instruction)))()
        ctypes.memmove(instructions, code.ctypes.data, code.nbytes)
        constants = [tensor_at(packed.memory, reference).clone() for reference in kept["constants"]]
        for operand, constant in zip(_fixed(instructions), kept["bases"], strict=True):
            in_weights = constant == _IN_WEIGHTS
            operand.base += self._weights.ctypes.data if in_weights else constants[constant].data_ptr()
        return Prepared(
            Program(
                instructions=instructions,
                attentions=[CachedLayer(*one) for one in kept["attentions"]],
                floats_per_row=kept["floats_per_row"],
                output=kept["output"],
                width=kept["width"],
                constants=constants,
            ),
            kept["reproducible"],
        )

    def write(self, prepared: Prepared, cache_dtype: np.dtype[Any]) -> None:
        """Write it for the next start, unless it reads tensors that are not in the packed weights."""
        program = prepared.program
        instructions = type(program.instructions).from_buffer_copy(program.instructions)
        numbers = {one.untyped_storage().data_ptr(): i for i, one in enumerate(program.constants)}
        first = self._weights.ctypes.data
        bases = []
        for operand in _fixed(instructions):
            in_weights = first <= operand.base < first + self._weights.nbytes
            if not in_weights and operand.base not in numbers:
                return
            bases.append(_IN_WEIGHTS if in_weights else numbers[operand.base])
            operand.base -= first if in_weights else operand.base

        def pack(writer: TensorWriter) -> dict[str, Any]:
            return {
                "instructions": writer.add(np.frombuffer(instructions, dtype=np.uint8)),
                "bases": bases,
                "constants": [writer.add(constant) for constant in program.constants],
                "attentions": program.attentions,
                "floats_per_row": program.floats_per_row,
                "output": program.output,
                "width": program.width,
                "reproducible": prepared.reproducible,
                "cache_dtype": str(cache_dtype),
            }

        self._store.write_program(self._key, pack)


def _fixed(instructions: Any) -> Iterator[Operand]:
    """The operands at addresses, in order; to change one changes its instruction."""
    for instruction in instructions:
        name = OPERATIONS[instruction.operation]
        operands = getattr(instruction.operands, name)
        for field, kind, *_ in OPERANDS[name]._fields_:
            operand = getattr(operands, field)
            if kind is Operand and operand.memory == Memory.FIXED:
                yield operand
