"""The linear hook: weights packed once, and results that do not depend on the batch.

PyTorch's own matrix products choose another order of summation for another number of rows, so the same row
gets other last bits in another batch. The native kernel does not. Where it was not built, oneDNN with packed
weights does not either, except for a row that is alone: with AVX-512 it has a kernel of its own. So with it
every step has LEAST_ROWS rows, padding included.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import pad
from transformers.pytorch_utils import Conv1D

from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.memory import return_freed_memory
from inference.engine.native.kernels import Kernels

PANEL = 16
"""Output channels whose weights the native kernels read together (`native/panels.h`)."""

ROWS_HINT = 16
"""The number of rows for which oneDNN lays the weights out."""

LEAST_ROWS = 6 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 2
"""The fewest rows of a step with oneDNN: two or more for equal bits, and six where it takes longer for fewer
(with AVX-512, all layers of GPT-2 medium took 59 ms for 2 rows and 43 ms for 6)."""


class NativeLinear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` in float32, its weights in the native kernel's own layout alone.

    Args:
        memory: for the weights.
        weight: `[out, in]`.
        bias: `[out]`, or None.
    """

    def __init__(
        self, kernels: Kernels, memory: WeightMemory, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._kernels = kernels
        self._bias = whole_panels(torch.zeros(self.out_features) if bias is None else bias.detach())
        self._weight = memory.empty((len(self._bias) // PANEL, self.in_features, PANEL), torch.float32)
        whole = self.out_features // PANEL  # those that are filled up are turned apart: that takes a copy
        self._weight[:whole] = in_panels(weight[: whole * PANEL])
        if whole < len(self._weight):
            self._weight[whole:] = in_panels(weight[whole * PANEL :])

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out = hidden.new_empty((*hidden.shape[:-1], self.out_features))
        self._kernels.linear(self._weight, self._bias, hidden.contiguous(), out)
        return out


def in_panels(weight: torch.Tensor) -> torch.Tensor:
    """`[out, in]` as `[panels, in, PANEL]`, the last panel filled up with zeros; not dense."""
    panels: torch.Tensor = whole_panels(weight).unflatten(0, (-1, PANEL))
    return panels.transpose(1, 2)


def whole_panels(channels: torch.Tensor) -> torch.Tensor:
    """`[out, ...]` with zeros after it, up to whole panels; a copy."""
    missing = -channels.shape[0] % PANEL
    if not missing:
        return channels.clone() if channels.dim() == 1 else channels
    return pad(channels, (*[0, 0] * (channels.dim() - 1), 0, missing))


class PackedLinear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` in float32 that holds its weights in oneDNN's own layout alone.

    From LEAST_ROWS rows on, a row's result is the same bits whatever the others.

    Args:
        weight: `[out, in]`.
        bias: `[out]`, or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_HINT)
        self._bias = None if bias is None else bias.detach().clone()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = hidden.reshape(-1, self.in_features)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.contiguous(), self._weight, self._bias, "none", [], ""
        )
        return out.view(*hidden.shape[:-1], self.out_features)


def packing_available() -> bool:
    """Whether this build of torch has oneDNN's packed linear layers for this CPU."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def replace_linears(model: nn.Module, layer: Callable[[torch.Tensor, torch.Tensor | None], nn.Module]) -> int:
    """Replace every linear layer of `model` (`nn.Linear`, `Conv1D`) by `layer(weight, bias)`, in place.

    Each weight, `[out, in]`, is freed as soon as it is replaced, but for one that is tied to the embeddings.

    Returns:
        The number of layers replaced.
    """
    found = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear | Conv1D)
    ]
    for parent, name in found:
        child: nn.Linear | Conv1D = getattr(parent, name)
        weight = child.weight.detach()
        setattr(parent, name, layer(weight.t() if isinstance(child, Conv1D) else weight, child.bias))
        return_freed_memory()  # what a layer's packing took would pile up in the C library
    return len(found)
