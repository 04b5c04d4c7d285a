"""A part of a model's pass, recorded between two of its hooks."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self

import torch

from inference.engine.compute.layer_program.recorder import NotRecordable, Recorder, View
from inference.engine.native.kernels import Kernels

RECORDED_ROWS, TRIED_ROWS = (3, 5), (1, 37)
"""Rows of the passes that are recorded, and of the passes that check the program."""


@dataclass(frozen=True)
class Pass:
    """A recorded part of a pass.

    Attributes:
        inputs: the tensors that it was given, in order.
        output: its result.
    """

    rows: int
    recorder: Recorder
    inputs: list[View]
    output: View


class PassRecording:
    """Records parts of one pass, one after the other; at its end it removes its hooks.

    Args:
        rows: of the pass.

    Attributes:
        hooks: those that call `begin` and `end`.
        passes: what was recorded.
    """

    def __init__(self, kernels: Kernels, *, rows: int) -> None:
        self.hooks: list[Any] = []
        self.passes: list[Pass] = []
        self._kernels = kernels
        self._rows = rows
        self._entered = ExitStack()
        self._recorder = Recorder()
        self._inputs: list[View] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._entered.close()
        for hook in self.hooks:
            hook.remove()

    def begin(self, inputs: list[torch.Tensor]) -> None:
        """Record from here."""
        self._recorder = Recorder()
        self._inputs = [self._recorder.view(tensor) for tensor in inputs]
        self._kernels.listener = self._recorder.call
        self._entered.callback(setattr, self._kernels, "listener", None)
        self._entered.enter_context(self._recorder)

    def end(self, output: object) -> None:
        """Record to here.

        Raises:
            NotRecordable: the result is not one tensor.
        """
        self._entered.close()
        if not isinstance(output, torch.Tensor):
            raise NotRecordable("the last layer returns something other than one tensor")
        result = self._recorder.view(output)
        self.passes.append(Pass(self._rows, self._recorder, self._inputs, result))
