"""The hook for all of a model's layers: one native call that does what their own code does.

Between two kernels, PyTorch and Python take longer than the kernels do for the few rows of a step, and hold
Python's lock. So when the model is loaded, the layers' own code runs twice and is recorded (`recorder.py`),
then compiled (`compiler.py`) to a program that the native library runs for any number of rows.
"""

import ctypes
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from inference.engine.compute.attention import AttentionBatch
from inference.engine.compute.layer_program.compiler import Pass, Program, compile_passes
from inference.engine.compute.layer_program.recorder import NotRecordable, Recorder, View
from inference.engine.native.abi import Cache
from inference.engine.native.instructions import Step
from inference.engine.native.kernels import Kernels

_RECORDED_ROWS, _TRIED_ROWS = (3, 5), (1, 37)
"""Rows of the passes that are recorded, and of the passes that check the program."""


class NativeLayers(nn.Module):
    """Replaces a model's layers: the model calls it as its only layer.

    Args:
        layers: the model's own. They are kept because the program reads their weights.
        program: what the layers do.
    """

    def __init__(self, layers: list[nn.Module], program: Program, kernels: Kernels) -> None:
        super().__init__()
        self._layers = layers
        self._program = program
        self._kernels = kernels
        self._workspace = torch.empty(0)
        self._cache: object = None
        self._caches: Any = None

    def forward(self, *args: Any, batch: AttentionBatch, **kwargs: Any) -> torch.Tensor:
        """`[1, rows, width]`; valid until the next call."""
        program = self._program
        inputs = _inputs(args, kwargs)
        rows = inputs[0].shape[1]
        if self._workspace.numel() < rows * program.floats_per_row:
            self._workspace = torch.empty(rows * program.floats_per_row)
        if self._cache is not batch.cache:
            self._cache = batch.cache
            pools = batch.cache.host.pools(program.attentions)
            self._caches = (Cache * len(pools))(*(Cache.of(*pair) for pair in pools))
        self._kernels.run(
            program.instructions,
            Step(
                rows=rows,
                workspace=self._workspace.data_ptr(),
                inputs=_addresses(inputs),
                caches=self._caches,
                tiles=batch.tiles.ctypes.data,
                tile_count=len(batch.tiles),
                tables=batch.tables.ctypes.data,
            ),
        )
        first = program.output * rows
        return self._workspace[first : first + program.width * rows].view(1, rows, program.width)


_off = ContextVar("layer program off", default=False)


@contextmanager
def layer_program_off() -> Iterator[None]:
    """While entered, this thread loads models without layer programs: Python calls each of their layers.

    Use it to measure what layer programs save, or to find out whether one is the cause of a fault.
    """
    token = _off.set(True)
    try:
        yield
    finally:
        _off.reset(token)


def replace_layers(
    model: nn.Module,
    count: int,
    kernels: Kernels,
    compute: Callable[[int], torch.Tensor],
    *,
    tolerance: float,
) -> Program:
    """Replace the `count` layers of `model` by one native call; returns what it does.

    Args:
        compute: runs the model for that number of rows and returns its result.
        tolerance: how far the result may be from that of the layers' own code, relative to it. In 8 bits the
            last bits of a norm decide how numbers are rounded (measured: 0.012; 2e-6 in float32).

    Raises:
        NotRecordable: no program can do what the layers do, or layer programs are off; `model` is unchanged.
    """
    stack = _stack(model, count)
    layers = list(stack)
    expected = [compute(rows).clone() for rows in _TRIED_ROWS]
    try:
        few, many = (_record(layers, kernels, compute, rows) for rows in _RECORDED_ROWS)
        program = compile_passes(few, many, constants=_constants(layers))
    except NotRecordable:
        raise
    except Exception as error:
        raise NotRecordable(repr(error)) from error
    use_program(model, count, kernels, program)
    try:
        computed = [compute(rows).clone() for rows in _TRIED_ROWS]
    except Exception as error:
        reason: str | None = f"the model's code uses more of them than a call: {error!r}"
    else:
        pairs = zip(computed, expected, strict=True)
        same = all(float((a - b).norm()) <= tolerance * float(b.norm()) for a, b in pairs)
        reason = None if same else "the program computes something else"
    if reason is not None:
        stack[0] = layers[0]
        stack.extend(layers[1:])
        raise NotRecordable(reason)
    return program


def use_program(model: nn.Module, count: int, kernels: Kernels, program: Program) -> None:
    """Replace the `count` layers of `model` by a call of `program`, which does what they do.

    Raises:
        NotRecordable: there are no such layers, or layer programs are off; `model` is unchanged.
    """
    stack = _stack(model, count)
    layers = list(stack)
    del stack[1:]
    stack[0] = NativeLayers(layers, program, kernels)


def _stack(model: nn.Module, count: int) -> nn.ModuleList:
    if _off.get():
        raise NotRecordable("layer programs are turned off")
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise NotRecordable("no list of modules holds them")
    return stacks[0]


def _record(
    layers: list[nn.Module], kernels: Kernels, compute: Callable[[int], torch.Tensor], rows: int
) -> Pass:
    recorder = Recorder()
    inputs: list[View] = []
    outputs: list[torch.Tensor] = []
    with ExitStack() as recording:

        def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            inputs.extend(recorder.view(tensor) for tensor in _inputs(args, kwargs))
            kernels.listener = recorder.call
            recording.callback(setattr, kernels, "listener", None)
            recording.enter_context(recorder)

        def end(_: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> None:
            recording.close()
            outputs.append(output)

        hooks = [
            layers[0].register_forward_pre_hook(begin, with_kwargs=True),
            layers[-1].register_forward_hook(end),
        ]
        try:
            compute(rows)
        finally:
            for hook in hooks:
                hook.remove()
    if len(outputs) != 1 or not isinstance(outputs[0], torch.Tensor):
        raise NotRecordable("the last layer returns something other than one tensor")
    return Pass(rows=rows, recorder=recorder, inputs=inputs, output=recorder.view(outputs[0]))


def _inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The floating-point tensors that the layers are given, in order, each made dense."""
    return [
        leaf.contiguous()
        for leaf in tree_leaves((args, kwargs))
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
    ]


def _addresses(tensors: list[torch.Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _constants(layers: list[nn.Module]) -> set[int]:
    """The addresses of the storages that the layers own, which live as long as the layers do."""
    return {
        tensor.untyped_storage().data_ptr()
        for layer in layers
        for module in layer.modules()
        for tensor in [
            *module.parameters(recurse=False),
            *module.buffers(recurse=False),
            *vars(module).values(),
        ]
        if isinstance(tensor, torch.Tensor)
    }
