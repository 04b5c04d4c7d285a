"""How large the inputs of a model's linear layers are: what decides which of their weights matter most."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from inference.engine.compute.linear_modules import is_linear

InputSquares = Mapping[str, torch.Tensor]
"""The mean square of each input of a linear layer, `[in]`, by the layer's name."""


@contextmanager
def noted_input_squares(model: nn.Module) -> Iterator[InputSquares]:
    """While entered, the model's own linear layers note the mean square of each of their inputs.

    PyTorch computes on one thread then: on several it could add in another order, and the numbers would not
    have the same bits at each start.
    """
    noted: dict[str, torch.Tensor] = {}

    def note(name: str, linear: nn.Module, args: Any) -> None:
        if args:
            rows = args[0].detach().float().reshape(-1, args[0].shape[-1])
            noted[name] = rows.square().mean(0)

    hooks = [
        module.register_forward_pre_hook(partial(note, name))
        for name, module in model.named_modules()
        if is_linear(module)
    ]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield noted
    finally:
        torch.set_num_threads(threads)
        for hook in hooks:
            hook.remove()


def digest_of(squares: InputSquares) -> str:
    """A short name for these numbers."""
    digest = hashlib.sha256()
    for name, of_layer in squares.items():
        digest.update(name.encode() + of_layer.numpy().tobytes())
    return digest.hexdigest()[:16]
