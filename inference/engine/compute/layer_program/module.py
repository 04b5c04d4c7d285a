"""The hook for all of a model's layers: one native call, for what their own code does.

Between two kernels PyTorch and Python take longer than the few rows of a step do, and hold Python's lock
meanwhile. So the layers' own code runs twice when the model is loaded, is recorded (`recording`), and made a
program (`program`) that the native library runs for any number of rows.
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
from inference.engine.native.abi import Step
from inference.engine.native.kernels import Kernels

_RECORDED_ROWS, _TRIED_ROWS = (3, 5), (1, 37)
"""Of the passes that are recorded, and of those in which a program has to prove itself."""


class NativeLayers(nn.Module):
    """Takes the place of a model's layers: it is called as the first one, and there are no others.

    Args:
        layers: the model's own; kept, because the program computes with their weights.
        program: what they do.
    """

    def __init__(self, layers: list[nn.Module], program: Program, kernels: Kernels) -> None:
        super().__init__()
        self._layers = layers
        self._program = program
        self._kernels = kernels
        self._workspace = torch.empty(0)
        self._cache: object = None
        self._pools: Any = None

    def forward(self, *args: Any, batch: AttentionBatch, **kwargs: Any) -> torch.Tensor:
        """`[1, rows, width]`; valid until the next call."""
        program = self._program
        inputs = _inputs(args, kwargs)
        rows = inputs[0].shape[1]
        if self._workspace.numel() < rows * program.floats_per_row:
            self._workspace = torch.empty(rows * program.floats_per_row)
        if self._cache is not batch.cache:
            self._cache = batch.cache
            self._pools = _addresses([pool for a in program.attentions for pool in batch.cache.pools(*a)])
        self._kernels.run(
            program.instructions,
            Step(
                rows=rows,
                workspace=self._workspace.data_ptr(),
                inputs=_addresses(inputs),
                pools=self._pools,
                slots=batch.cache.tokens,
                float16=batch.cache.dtype is torch.float16,
                tiles=batch.prompt_blocks.data_ptr(),
                tile_count=len(batch.prompt_blocks),
                single_rows=batch.single_rows.data_ptr(),
                single_count=len(batch.single_rows),
            ),
        )
        first = program.output * rows
        return self._workspace[first : first + program.width * rows].view(1, rows, program.width)


_off = ContextVar("layer program off", default=False)


@contextmanager
def layer_program_off() -> Iterator[None]:
    """Models that are loaded meanwhile, by this thread, keep their layers, which Python calls one by one.

    It shows what a layer program is worth, and whether it is what goes wrong.
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
) -> None:
    """Put one native call in the place of the `count` layers of `model`.

    Args:
        compute: what the model computes in a pass of so many rows.
        tolerance: how far that may be from what the layers' own code computes, relative to it. In 8 bits the
            last bits of a norm decide how numbers are rounded (measured: 0.012; 2e-6 in float32).

    Raises:
        NotRecordable: the layers do what no program can do, or layer programs are off; the layers are as they
            were.
    """
    if _off.get():
        raise NotRecordable("layer programs are turned off")
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise NotRecordable("they are in no list")
    stack = stacks[0]
    layers = list(stack)
    expected = [compute(rows).clone() for rows in _TRIED_ROWS]
    try:
        few, many = (_record(layers, kernels, compute, rows) for rows in _RECORDED_ROWS)
        program = compile_passes(few, many, constants=_constants(layers))
    except NotRecordable:
        raise
    except Exception as error:
        raise NotRecordable(repr(error)) from error
    del stack[1:]
    stack[0] = NativeLayers(layers, program, kernels)
    try:
        computed = [compute(rows).clone() for rows in _TRIED_ROWS]
    except Exception as error:
        reason: str | None = f"the model's code wants more of them: {error!r}"
    else:
        pairs = zip(computed, expected, strict=True)
        same = all(float((a - b).norm()) <= tolerance * float(b.norm()) for a, b in pairs)
        reason = None if same else "a program computes something else"
    if reason is not None:
        stack[0] = layers[0]
        stack.extend(layers[1:])
        raise NotRecordable(reason)


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
        raise NotRecordable("the last layer gives something else than one tensor")
    return Pass(rows=rows, recorder=recorder, inputs=inputs, output=recorder.view(outputs[0]))


def _inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors of numbers that the layers are given, in order, each of them dense."""
    return [
        leaf.contiguous()
        for leaf in tree_leaves((args, kwargs))
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
    ]


def _addresses(tensors: list[torch.Tensor]) -> Any:
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _constants(layers: list[nn.Module]) -> set[int]:
    """The addresses of the storages that are the layers' own, and so are there as long as they are."""
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
