"""The hook for all of a model's layers: one native call that does what their own code does.

Between two kernels, PyTorch and Python take longer than the kernels do for the few rows of a step, and hold
Python's lock. So when the model is loaded, the layers' own code runs twice and is recorded (`recorder.py`),
then compiled (`compiler.py`) to a program that the native library runs for any number of rows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from inference.engine.compute.attention import AttentionBatch
from inference.engine.compute.layer_program.compiler import compile_passes
from inference.engine.compute.layer_program.recorder import NotRecordable
from inference.engine.compute.layer_program.recording import RECORDED_ROWS, TRIED_ROWS, Pass, PassRecording
from inference.engine.compute.layer_program.runner import Program, ProgramRunner
from inference.engine.native.kernels import Kernels


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
        self._runner = ProgramRunner(program, kernels)

    def forward(self, *args: Any, batch: AttentionBatch, **kwargs: Any) -> torch.Tensor:
        """`[1, rows, width]`; valid until the next call."""
        inputs = layer_inputs(args, kwargs)
        rows = inputs[0].shape[1]
        addresses = [tensor.data_ptr() for tensor in inputs]
        computed = self._runner.run(rows, addresses, cache=batch.cache.host, tiles=batch)
        return torch.from_numpy(computed)[None]


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
) -> None:
    """Replace the `count` layers of `model` by one native call.

    Args:
        compute: runs the model for that number of rows and returns its result.
        tolerance: how far the result may be from that of the layers' own code, relative to it. In 8 bits the
            last bits of a norm decide how numbers are rounded (measured: 0.012; 2e-6 in float32).

    Raises:
        NotRecordable: no program can do what the layers do, or layer programs are off; `model` is unchanged.
    """
    stack = stack_of(model, count)
    layers = list(stack)
    expected = [compute(rows).clone() for rows in TRIED_ROWS]
    try:
        few, many = (_record(layers, kernels, compute, rows) for rows in RECORDED_ROWS)
        program = compile_passes(few, many, constants=constants(layers))
    except NotRecordable:
        raise
    except Exception as error:
        raise NotRecordable(repr(error)) from error
    del stack[1:]
    stack[0] = NativeLayers(layers, program, kernels)
    try:
        computed = [compute(rows).clone() for rows in TRIED_ROWS]
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


def stack_of(model: nn.Module, count: int) -> nn.ModuleList:
    """The list of a model's layers.

    Raises:
        NotRecordable: there is none with `count` layers, or layer programs are off.
    """
    if _off.get():
        raise NotRecordable("layer programs are turned off")
    stacks = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not stacks:
        raise NotRecordable("no list of modules holds them")
    return stacks[0]


def _record(
    layers: list[nn.Module], kernels: Kernels, compute: Callable[[int], torch.Tensor], rows: int
) -> Pass:
    with PassRecording(kernels, rows=rows) as recording:

        def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            recording.begin(layer_inputs(args, kwargs))

        def end(_: nn.Module, args: tuple[Any, ...], output: object) -> None:
            recording.end(output)

        recording.hooks += [
            layers[0].register_forward_pre_hook(begin, with_kwargs=True),
            layers[-1].register_forward_hook(end),
        ]
        compute(rows)
    if len(recording.passes) != 1:
        raise NotRecordable("their code calls the layers more than once")
    return recording.passes[0]


def layer_inputs(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[torch.Tensor]:
    """The floating-point tensors that the layers are given, in order, each made dense."""
    return [
        leaf.contiguous()
        for leaf in tree_leaves((args, kwargs))
        if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
    ]


def constants(modules: list[nn.Module]) -> set[int]:
    """The addresses of the storages that the modules own, which live as long as the modules do."""
    return {
        tensor.untyped_storage().data_ptr()
        for owner in modules
        for module in owner.modules()
        for tensor in [
            *module.parameters(recurse=False),
            *module.buffers(recurse=False),
            *vars(module).values(),
        ]
        if isinstance(tensor, torch.Tensor)
    }
