"""Compiles what was recorded of a model's layers to a program for any number of rows."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from inference.engine.compute.layer_program.recorder import Call, NotRecordable, Recorder, View
from inference.engine.native.abi import DIMENSIONS, Extent, Instruction, Memory, Operand

_FLOAT_BYTES = 4
_LINE = 16
"""Floats in a line of the cache: no two tensors share one."""


@dataclass(frozen=True)
class Pass:
    """A recorded pass of so many rows.

    Attributes:
        inputs: what the layers were given, in order.
        output: the last layer's.
    """

    rows: int
    recorder: Recorder
    inputs: list[View]
    output: View


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to do with a step's rows.

    Attributes:
        instructions: an array of `Instruction`.
        attentions: of each attention, what `KVCache.pools` wants to know: its layer, the heads of its keys,
            and the dimensions of keys and values.
        floats_per_row: of the workspace.
        output: where in the workspace the result begins, in floats a row; it has `width` floats a row.
        constants: tensors that the instructions read and nobody else keeps.
    """

    instructions: Any
    attentions: list[tuple[int, int, int, int]]
    floats_per_row: int
    output: int
    width: int
    constants: list[torch.Tensor]


def compile_passes(few: Pass, many: Pass, *, constants: set[int]) -> Program:
    """The program that does for any rows what two passes did for theirs.

    Args:
        constants: addresses of the storages that may be read though no pass made them or was given them.

    Raises:
        NotRecordable: it would not do the same.
    """
    pairs = list(zip(few.recorder.calls, many.recorder.calls, strict=False))
    if len(few.recorder.calls) != len(many.recorder.calls) or any(not _same(a, b) for a, b in pairs):
        raise NotRecordable("they do something else for other numbers of rows")
    if not all(map(torch.equal, few.recorder.constants, many.recorder.constants)):
        raise NotRecordable("they take other numbers for other numbers of rows")
    extents = _Extents(few.rows, many.rows)
    begins, floats_per_row = _lay_out(few, many, extents)
    inputs = [view.storage for view in many.inputs]
    addresses = list(many.recorder.storages)
    kept = many.recorder.constants
    fixed = constants | {tensor.untyped_storage().data_ptr() for tensor in kept}

    def operand(a: View, b: View) -> Operand:
        if len(b.sizes) > DIMENSIONS:
            raise NotRecordable(f"tensors of {len(b.sizes)} dimensions")
        offset = extents.of(a.offset, b.offset)
        if b.storage in begins:
            memory, base = Memory.WORKSPACE, 0
            offset = Extent(offset.fixed, offset.per_row + _FLOAT_BYTES * begins[b.storage])
        elif b.storage in inputs:
            memory, base = Memory.INPUT, inputs.index(b.storage)
            offset = extents.of(a.offset - few.inputs[base].offset, b.offset - many.inputs[base].offset)
        elif addresses[b.storage] in fixed:
            memory, base = Memory.FIXED, addresses[b.storage]
        else:
            raise NotRecordable("they read a tensor that comes from elsewhere")
        missing = DIMENSIONS - len(b.sizes)
        sizes = [Extent(1, 0)] * missing + list(map(extents.of, a.sizes, b.sizes))
        strides = [Extent(0, 0)] * missing + list(map(extents.of, a.strides, b.strides))
        return Operand(memory=memory, base=base, offset=offset, sizes=tuple(sizes), strides=tuple(strides))

    instructions = (Instruction * len(pairs))()
    attentions: list[tuple[int, int, int, int]] = []
    for i, (a, b) in enumerate(pairs):
        operands = {name: operand(a.operands[name], view) for name, view in b.operands.items()}
        numbers = dict(b.numbers)
        if b.operation == "attention":
            key, value = b.operands["key"], b.operands["value"]
            numbers["pool_pair"] = len(attentions)
            attentions.append((int(numbers.pop("layer")), key.sizes[1], key.sizes[3], value.sizes[3]))
        instructions[i] = Instruction.of(b.operation, **operands, **numbers)
    width = many.output.sizes[-1]
    if many.output.storage not in begins or not all(_dense(p.output, p.rows, width) for p in (few, many)):
        raise NotRecordable("the last layer does not give what it computed as it is")
    return Program(
        instructions=instructions,
        attentions=attentions,
        floats_per_row=floats_per_row,
        output=begins[many.output.storage],
        width=width,
        constants=kept,
    )


def _dense(view: View, rows: int, width: int) -> bool:
    return view.offset == 0 and view.sizes == (1, rows, width) and view.strides[1:] == (width, 1)


class _Extents:
    """How numbers depend on the rows, from what they are for two numbers of rows."""

    def __init__(self, few: int, many: int) -> None:
        self._few, self._many = few, many

    def of(self, few: int, many: int) -> Extent:
        per_row, left = divmod(many - few, self._many - self._few)
        if left:
            raise NotRecordable("a size that does not grow with the rows")
        return Extent(few - per_row * self._few, per_row)


def _same(few: Call, many: Call) -> bool:
    """Whether both do the same, with the same tensors."""
    return (
        few.operation == many.operation
        and few.numbers == many.numbers
        and few.operands.keys() == many.operands.keys()
        and all(
            few.operands[name].storage == view.storage and len(few.operands[name].sizes) == len(view.sizes)
            for name, view in many.operands.items()
        )
    )


def _lay_out(few: Pass, many: Pass, extents: _Extents) -> tuple[dict[int, int], int]:
    """Where in the workspace each storage begins that the passes made, and its size: in floats a row.

    The memory of one that is not read again is given to others.
    """
    calls = many.recorder.calls
    last = {view.storage: i for i, call in enumerate(calls) for view in call.operands.values()}
    last[many.output.storage] = len(calls)
    begins: dict[int, int] = {}
    used: list[tuple[int, int, int]] = []  # begin, end, and the call that reads it last
    size = 0
    for i, call in enumerate(calls):
        used = [taken for taken in used if taken[2] >= i]
        for view in call.operands.values():
            if view.storage in begins or view.storage not in many.recorder.made:
                continue
            floats = extents.of(few.recorder.floats[view.storage], many.recorder.floats[view.storage])
            if floats.fixed < 0 or floats.per_row < 0:
                raise NotRecordable("a tensor that grows otherwise than with the rows")
            needed = -(-(floats.fixed + floats.per_row) // _LINE) * _LINE
            begin = next(gap for gap in _gaps(used) if all(not _meet(gap, needed, taken) for taken in used))
            used.append((begin, begin + needed, last[view.storage]))
            begins[view.storage] = begin
            size = max(size, begin + needed)
    return begins, size


def _gaps(used: list[tuple[int, int, int]]) -> Iterator[int]:
    """Where a gap may begin, from the front."""
    yield from sorted({0, *(end for _, end, _ in used)})


def _meet(begin: int, size: int, taken: tuple[int, int, int]) -> bool:
    return begin < taken[1] and taken[0] < begin + size
