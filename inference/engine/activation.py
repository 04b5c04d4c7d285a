"""The activation hook: the same bits for a row wherever it stands, and GPT-2's GELU as one operator.

PyTorch cuts a large tensor among its threads (from 32,768 numbers on, for GELU from 16,385), and computes the
last few numbers of a piece without vector instructions, which can give other last bits. So activations work
on pieces of whole rows that are below that size.
"""

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2CLS, NewGELUActivation

_MOST = 16_384
_CLASSES: list[Any] = [kind[0] if isinstance(kind, tuple) else kind for kind in ACT2CLS.values()]
_KINDS = tuple(_CLASSES)


class RowwiseActivation(nn.Module):
    """`activation`, element by element, on `[*, width]`."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self._activation = activation

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        width = hidden.shape[-1]
        if hidden.numel() <= _MOST:
            result: torch.Tensor = self._activation(hidden)
            return result
        pieces = hidden.reshape(-1, width).split(max(1, _MOST // width))
        return torch.cat([self._activation(piece) for piece in pieces]).view_as(hidden)


def wrap_activations(model: nn.Module) -> None:
    """Make every activation of `model` row-wise, in place."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, _KINDS)
    ]
    for parent, name, child in found:
        one = nn.GELU(approximate="tanh") if isinstance(child, NewGELUActivation) else child
        setattr(parent, name, RowwiseActivation(one))
