"""The activation hook: the same bits for a row wherever it stands, and one pass over the numbers.

PyTorch cuts a large tensor among its threads (from 32,768 numbers on, for GELU from 16,385), and computes the
last few numbers of a piece without vector instructions, which can give other last bits. So where there is no
native kernel, activations work on pieces of whole rows that are below that size.
"""

from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2CLS, GELUTanh, NewGELUActivation, SiLUActivation

from inference.engine.native.kernels import Kernels

_MOST = 16_384
_CLASSES: list[Any] = [kind[0] if isinstance(kind, tuple) else kind for kind in ACT2CLS.values()]
_KINDS = tuple(_CLASSES)
_SILU = (nn.SiLU, SiLUActivation)


class NativeActivation(nn.Module):
    """The native kernel's activation of that name, on `[*, width]`."""

    def __init__(self, kernels: Kernels, name: str) -> None:
        super().__init__()
        self._kernels = kernels
        self._name = name

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden.contiguous()
        out = torch.empty_like(hidden)
        self._kernels.activation(self._name, hidden, out)
        return out


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


def replace_activations(model: nn.Module, kernels: Kernels | None) -> None:
    """Make every activation of `model` row-wise, in place."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, _KINDS)
    ]
    for parent, name, child in found:
        native = "gelu_tanh" if _is_gelu_tanh(child) else "silu" if isinstance(child, _SILU) else None
        if kernels and native:
            setattr(parent, name, NativeActivation(kernels, native))
        else:
            one = nn.GELU(approximate="tanh") if _is_gelu_tanh(child) else child
            setattr(parent, name, RowwiseActivation(one))


def _is_gelu_tanh(activation: nn.Module) -> bool:
    if isinstance(activation, nn.GELU):
        return activation.approximate == "tanh"
    return isinstance(activation, NewGELUActivation | GELUTanh)
