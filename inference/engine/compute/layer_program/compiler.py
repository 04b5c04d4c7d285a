"""Compiles two recorded passes of a model's layers to a program for any number of rows."""

from collections.abc import Iterator

import torch

from inference.engine.compute.layer_program.recorder import Call, NotRecordable, View
from inference.engine.compute.layer_program.recording import Pass
from inference.engine.compute.layer_program.runner import Program
from inference.engine.kv_cache import CachedLayer
from inference.engine.native.instructions import DIMENSIONS, Extent, Instruction, Memory, Operand

_FLOAT_BYTES = 4
_LINE = 16
"""Floats of a cache line. No two tensors of the workspace share a line."""
_LINEAR = {"linear", "bfloat16_linear", "int8_linear", "int4_linear"}
_ELEMENTWISE = {"gelu_tanh", "silu", "relu", "add", "subtract", "multiply", "divide"}


def compile_passes(few: Pass, many: Pass, *, constants: set[int]) -> Program:
    """The program that does for any number of rows what the two passes did for theirs.

    Args:
        constants: addresses of the storages that a program may read although they are neither inputs nor made
            in the pass.

    Raises:
        NotRecordable: no program would do the same.
    """
    pairs = list(zip(few.recorder.calls, many.recorder.calls, strict=False))
    if len(few.recorder.calls) != len(many.recorder.calls) or any(not _same(a, b) for a, b in pairs):
        raise NotRecordable("they do something different for another number of rows")
    if not all(map(torch.equal, few.recorder.constants, many.recorder.constants)):
        raise NotRecordable("they use different constants for another number of rows")
    extents = _Extents(few.rows, many.rows)
    follows = _follows(many)
    begins, floats_per_row = _lay_out(few, many, extents, follows)
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
            raise NotRecordable("they read a tensor that is neither an input nor their own")
        missing = DIMENSIONS - len(b.sizes)
        sizes = [Extent(1, 0)] * missing + list(map(extents.of, a.sizes, b.sizes))
        strides = [Extent(0, 0)] * missing + list(map(extents.of, a.strides, b.strides))
        return Operand(memory=memory, base=base, offset=offset, sizes=tuple(sizes), strides=tuple(strides))

    instructions = (Instruction * len(pairs))()
    attentions: list[CachedLayer] = []
    for i, (a, b) in enumerate(pairs):
        operands = {name: operand(a.operands[name], view) for name, view in b.operands.items()}
        numbers = dict(b.numbers)
        if b.operation == "attention":
            key, value = b.operands["key"], b.operands["value"]
            numbers["cache"] = len(attentions)
            attentions.append(
                CachedLayer(int(numbers.pop("layer")), key.sizes[1], key.sizes[3], value.sizes[3])
            )
        instructions[i] = Instruction.of(b.operation, **operands, **numbers)
        instructions[i].follows = follows[i]
    width = many.output.sizes[-1]
    if many.output.storage not in begins or not all(_dense(p.output, p.rows, width) for p in (few, many)):
        raise NotRecordable("the last layer does not return a dense tensor that it computed")
    return Program(
        instructions=instructions,
        attentions=attentions,
        floats_per_row=floats_per_row,
        output=begins[many.output.storage],
        width=width,
        constants=[tensor.numpy() for tensor in kept],
    )


def _follows(recorded: Pass) -> list[bool]:
    """Which calls take the results of the linear layer right before them, each number at its own place."""
    calls = recorded.recorder.calls
    return [i > 0 and _is_follower(call, calls[i - 1], rows=recorded.rows) for i, call in enumerate(calls)]


def _is_follower(call: Call, before: Call, *, rows: int) -> bool:
    if before.operation not in _LINEAR or call.operation not in _ELEMENTWISE:
        return False
    result = before.operands["out"]
    width = result.sizes[-1]
    taken = [view for view in call.operands.values() if view.storage == result.storage]
    return bool(taken) and all(_is_rows(view, rows, width) for view in (result, call.operands["out"], *taken))


def _is_rows(view: View, rows: int, width: int) -> bool:
    """Whether the tensor is dense and has a line for each row, and nothing besides."""
    sizes = (1,) * (len(view.sizes) - 2) + (rows, width)
    return view.sizes == sizes and view.strides[-2:] == (width, 1) and view.offset == 0


def _dense(view: View, rows: int, width: int) -> bool:
    return view.offset == 0 and view.sizes == (1, rows, width) and view.strides[1:] == (width, 1)


class _Extents:
    """How a number depends on the rows, from its values for two numbers of rows."""

    def __init__(self, few: int, many: int) -> None:
        self._few, self._many = few, many

    def of(self, few: int, many: int) -> Extent:
        per_row, left = divmod(many - few, self._many - self._few)
        if left:
            raise NotRecordable("a size that does not grow linearly with the rows")
        return Extent(few - per_row * self._few, per_row)


def _same(few: Call, many: Call) -> bool:
    """Whether both do the same operation with the same storages."""
    return (
        few.operation == many.operation
        and few.numbers == many.numbers
        and few.operands.keys() == many.operands.keys()
        and all(
            few.operands[name].storage == view.storage and len(few.operands[name].sizes) == len(view.sizes)
            for name, view in many.operands.items()
        )
    )


def _lay_out(few: Pass, many: Pass, extents: _Extents, follows: list[bool]) -> tuple[dict[int, int], int]:
    """Where each storage made in the passes begins in the workspace, and the size of the workspace.

    Both are in floats per row. The memory of a storage that is not read again is used for others: of what a
    linear layer takes, only after the call that follows it, because both run at the same time. Where nothing
    else reads the layer's results, that call replaces them by its own.
    """
    calls = many.recorder.calls
    ends = [i + 1 if follows[i + 1 : i + 2] == [True] else i for i in range(len(calls))]
    last: dict[int, int] = {}
    for end, call in zip(ends, calls, strict=True):
        last |= {view.storage: max(end, last.get(view.storage, 0)) for view in call.operands.values()}
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
                raise NotRecordable("a tensor that does not grow linearly with the rows")
            needed = -(-(floats.fixed + floats.per_row) // _LINE) * _LINE
            result = calls[i - 1].operands["out"].storage if follows[i] else None
            sizes = many.recorder.floats
            if result in begins and last[result] == i and sizes[result] == sizes[view.storage]:
                begin = begins[result]  # no further memory passes through the cache
            else:
                begin = next(
                    gap for gap in _gaps(used) if all(not _overlap(gap, needed, taken) for taken in used)
                )
            used.append((begin, begin + needed, last[view.storage]))
            begins[view.storage] = begin
            size = max(size, begin + needed)
    return begins, size


def _gaps(used: list[tuple[int, int, int]]) -> Iterator[int]:
    """Where a gap may begin, in ascending order."""
    yield from sorted({0, *(end for _, end, _ in used)})


def _overlap(begin: int, size: int, taken: tuple[int, int, int]) -> bool:
    return begin < taken[1] and taken[0] < begin + size
