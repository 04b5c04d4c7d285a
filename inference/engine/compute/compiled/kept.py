"""A compiled model in a file, beside the packed weights that it computes with.

An instruction names weights by their address. The file has the offset in the memory of the weights instead.
"""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engine.compute.compiled.inputs import Embedding, Rotary
from inference.engine.compute.compiled.model import Compiled
from inference.engine.compute.compiled.tables import PackedRows, Table
from inference.engine.compute.layer_program.runner import Program
from inference.engine.compute.packed.store import Packed
from inference.engine.compute.packed.tensor_file import TensorWriter, array_at
from inference.engine.kv_cache import CachedLayer
from inference.engine.native.instructions import OPERANDS, OPERATIONS, Instruction, Memory, Operand

_IN_WEIGHTS = -1
"""In place of the number of a constant."""
_VALUES: dict[str, Any] = {kind.__name__: kind for kind in (Embedding, Rotary, Table, PackedRows)}

Description = dict[str, Any]
"""What JSON can hold."""


class NotInWeights(Exception):
    """The model reads numbers that are not in the packed weights."""


@dataclass(frozen=True)
class _Weights:
    """The memory of packed weights, and what was read from the file beside them."""

    memory: NDArray[np.uint8]
    beside: NDArray[np.uint8]

    def restored(self, kept: Any) -> Any:
        """The inverse of `_Writer.described`."""
        match kept:
            case {"in_weights": reference}:
                return array_at(self.memory, reference)
            case {"beside": reference}:
                return array_at(self.beside, reference)
            case {"kind": kind, "values": values}:
                return _VALUES[kind](**{name: self.restored(value) for name, value in values.items()})
        return kept

    def program(self, kept: Description) -> Program:
        code = array_at(self.beside, kept["instructions"])
        instructions = (Instruction * (code.nbytes // ctypes.sizeof(Instruction)))()
        ctypes.memmove(instructions, code.ctypes.data, code.nbytes)
        constants = [self.restored(constant) for constant in kept["constants"]]
        for operand, constant in zip(_fixed(instructions), kept["bases"], strict=True):
            start = self.memory if constant == _IN_WEIGHTS else constants[constant]
            operand.base += start.ctypes.data
        return Program(
            instructions=instructions,
            attentions=[CachedLayer(*one) for one in kept["attentions"]],
            floats_per_row=kept["floats_per_row"],
            output=kept["output"],
            width=kept["width"],
            constants=constants,
        )


@dataclass(frozen=True)
class _Writer:
    """Writes what is not in the memory of the packed weights."""

    writer: TensorWriter
    memory: NDArray[np.uint8]

    def described(self, value: Any) -> Any:
        if isinstance(value, np.ndarray):
            offset = value.ctypes.data - self.memory.ctypes.data
            if value.flags.c_contiguous and 0 <= offset <= self.memory.nbytes - value.nbytes:
                reference = {"offset": offset, "shape": list(value.shape), "dtype": str(value.dtype)}
                return {"in_weights": reference}
            return {"beside": self.writer.add(value)}
        if is_dataclass(value):
            values = {field.name: self.described(getattr(value, field.name)) for field in fields(value)}
            return {"kind": type(value).__name__, "values": values}
        return value

    def program(self, program: Program) -> Description:
        instructions = type(program.instructions).from_buffer_copy(program.instructions)
        numbers = {one.ctypes.data: i for i, one in enumerate(program.constants)}
        first = self.memory.ctypes.data
        bases = []
        for operand in _fixed(instructions):
            in_weights = first <= operand.base < first + self.memory.nbytes
            if not in_weights and operand.base not in numbers:
                raise NotInWeights
            bases.append(_IN_WEIGHTS if in_weights else numbers[operand.base])
            operand.base -= first if in_weights else operand.base
        return {
            "instructions": self.writer.add(np.frombuffer(instructions, dtype=np.uint8)),
            "bases": bases,
            "constants": [self.described(constant) for constant in program.constants],
            "attentions": program.attentions,
            "floats_per_row": program.floats_per_row,
            "output": program.output,
            "width": program.width,
        }


def writing(
    compiled: Compiled, weights: NDArray[np.uint8], further: Description
) -> Callable[[TensorWriter], Description]:
    """Writes the model, for `PackedWeights.write_compiled`.

    Args:
        weights: the memory of the packed weights.
        further: what else a start wants to know; arrays are written.

    Raises:
        NotInWeights: by the returned function.
    """

    def pack(file: TensorWriter) -> Description:
        writer = _Writer(file, weights)
        return {
            "inputs": [writer.described(one) for one in compiled.inputs],
            "layers": writer.program(compiled.layers),
            "head": writer.program(compiled.head),
            "further": {name: writer.described(value) for name, value in further.items()},
        }

    return pack


def restored(packed: Packed, weights: NDArray[np.uint8]) -> tuple[Compiled, Description]:
    """What `writing` has written, and what else it was told."""
    kept, restore = packed.description, _Weights(weights, packed.memory)
    compiled = Compiled(
        inputs=[restore.restored(one) for one in kept["inputs"]],
        layers=restore.program(kept["layers"]),
        head=restore.program(kept["head"]),
        owner=weights,
    )
    return compiled, {name: restore.restored(value) for name, value in kept["further"].items()}


def _fixed(instructions: Any) -> Iterator[Operand]:
    """The operands at addresses, in order; to change one changes its instruction."""
    for instruction in instructions:
        name = OPERATIONS[instruction.operation]
        operands = getattr(instruction.operands, name)
        for field, kind, *_ in OPERANDS[name]._fields_:
            operand = getattr(operands, field)
            if kind is Operand and operand.memory == Memory.FIXED:
                yield operand
