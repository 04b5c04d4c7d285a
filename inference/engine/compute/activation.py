"""The activation hook: a row has the same bits at any position, and is read and written once.

PyTorch divides a large tensor among its threads (from 32,768 elements on, for GELU from 16,385), and computes
the last few elements of each part without vector instructions, which can give other last bits. So where there
is no native kernel, activations work on parts of whole rows that are smaller than that, and on rows that are
padded to whole vectors.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad
from transformers.activations import ACT2CLS, GELUTanh, NewGELUActivation, SiLUActivation

from inference.engine.native.kernels import Kernels

_MOST_ELEMENTS = 16_384
_VECTORS = 64
"""A multiple of the elements that PyTorch computes at a time with vector instructions."""

_CLASSES: list[Any] = [kind[0] if isinstance(kind, tuple) else kind for kind in ACT2CLS.values()]
_KINDS = tuple(_CLASSES)
_SILU = (nn.SiLU, SiLUActivation)


class NativeActivation(nn.Module):
    """An activation of the native kernels, on `[*, width]`; `name` is "gelu_tanh" or "silu"."""

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
    """`activation`, which works element by element, applied to whole rows of `[*, width]`."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self._activation = activation

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        width = hidden.shape[-1]
        if missing := -width % _VECTORS:
            return self.forward(pad(hidden, (0, missing)))[..., :width]
        if hidden.numel() <= _MOST_ELEMENTS:
            result: torch.Tensor = self._activation(hidden)
            return result
        parts = hidden.reshape(-1, width).split(max(1, _MOST_ELEMENTS // width))
        return torch.cat([self._activation(part) for part in parts]).view_as(hidden)


def replace_activations(model: nn.Module, kernels: Kernels | None) -> None:
    """Replace every activation of `model` in place: by a native kernel if there is one for it.

    A ReLU stays as it is: it rounds nothing.
    """
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, _KINDS) and not isinstance(child, nn.ReLU)
    ]
    for parent, name, child in found:
        native = "gelu_tanh" if _is_gelu_tanh(child) else "silu" if isinstance(child, _SILU) else None
        if kernels and native:
            setattr(parent, name, NativeActivation(kernels, native))
        else:
            own = nn.GELU(approximate="tanh") if _is_gelu_tanh(child) else child
            setattr(parent, name, RowwiseActivation(own))


def _is_gelu_tanh(activation: nn.Module) -> bool:
    if isinstance(activation, nn.GELU):
        return activation.approximate == "tanh"
    return isinstance(activation, NewGELUActivation | GELUTanh)
