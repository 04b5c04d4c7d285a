"""What the linear layers of the native kernels have in common, in every weight format."""

from collections.abc import Callable

import torch
from torch import nn

from inference.engine.compute.formats.panels import whole_panels
from inference.engine.compute.formats.weight_format import BuildLinear, LinearWeights
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native.kernels import Kernels


class PanelLinear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` whose output channels are in panels.

    Args:
        weight: `[out, in]`; a subclass keeps it in its format.
        bias: `[out]`, or None.
    """

    def __init__(self, kernels: Kernels, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._kernels = kernels
        self._bias = whole_panels(torch.zeros(self.out_features) if bias is None else bias.detach())

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out = hidden.new_empty((*hidden.shape[:-1], self.out_features))
        self._multiply(hidden.contiguous(), out)
        return out

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        """Fill `out`, `[*, out]`, from `x`, `[*, in]`, which is dense."""
        raise NotImplementedError


Layer = Callable[[Kernels, WeightMemory, torch.Tensor, torch.Tensor | None], PanelLinear]
"""A kind of layer, for a weight, `[out, in]`, and a bias, `[out]`."""


def building(layer: Layer, kernels: Kernels) -> BuildLinear:
    """Builds layers of this kind, which share their memory for weights."""
    memory = WeightMemory()

    def build(linear: LinearWeights) -> nn.Module:
        return layer(kernels, memory, linear.weight, linear.bias)

    return build
