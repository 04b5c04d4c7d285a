"""Linear layers in float32: weights packed once, and results that do not depend on the batch.

PyTorch's own matrix products choose the order of summation by the number of rows, so the same row gets other
last bits in another batch. The native kernel always adds in one order. Where it was not built, oneDNN with
packed weights does too, except for a single row: with AVX-512 it has a separate kernel for that. So with
oneDNN every step has at least `LEAST_ROWS` rows, padding included.
"""

import numpy as np
import torch
from torch import nn

from inference.engine.compute.formats.panel_linear import PanelLinear, building
from inference.engine.compute.formats.panels import in_panels
from inference.engine.compute.formats.weight_format import LinearLayers, LinearWeights, WeightFormat
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native.abi import PANEL
from inference.engine.native.kernels import Kernels

LEAST_ROWS = 6 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 2
"""The fewest rows of a step with oneDNN. Two give equal bits. With AVX-512, fewer than six take longer: all
layers of GPT-2 medium took 59 ms for 2 rows and 43 ms for 6."""

_ROWS_HINT = 16
"""The number of rows for which oneDNN lays weights out."""


class NativeLinear(PanelLinear):
    """A linear layer `[*, in] -> [*, out]` that keeps its weights in the native kernel's layout only.

    Args:
        memory: for the weights.
        weight: `[out, in]`, in float32, bfloat16 or float16, which it keeps.
        bias: `[out]`, or None.
    """

    def __init__(
        self, kernels: Kernels, memory: WeightMemory, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__(kernels, weight, bias)
        self._weight = memory.empty((len(self._bias) // PANEL, self.in_features, PANEL), weight.dtype)
        whole = self.out_features // PANEL  # a padded panel is written separately, because padding copies
        self._weight[:whole] = in_panels(weight[: whole * PANEL])
        if whole < len(self._weight):
            self._weight[whole:] = in_panels(weight[whole * PANEL :])

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        self._kernels.linear(self._weight, self._bias, x, out)


class PackedLinear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` that keeps its weights in oneDNN's layout only.

    With at least `LEAST_ROWS` rows, a row's result has the same bits whatever the others are.

    Args:
        weight: `[out, in]`.
        bias: `[out]`, or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS_HINT)
        self._bias = None if bias is None else bias.detach().clone()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = hidden.reshape(-1, self.in_features)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.contiguous(), self._weight, self._bias, "none", [], ""
        )
        return out.view(*hidden.shape[:-1], self.out_features)


def _build_packed(linear: LinearWeights) -> nn.Module:
    return PackedLinear(linear.weight, linear.bias)


def _layers(kernels: Kernels | None) -> LinearLayers:
    if kernels:
        build = building(NativeLinear, kernels)
        return LinearLayers(library="the native kernels", build=build, native=True)
    if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return LinearLayers(library="PyTorch's oneDNN", build=_build_packed, least_rows=LEAST_ROWS)
    return LinearLayers(library="PyTorch's operators", least_rows=LEAST_ROWS)


FLOAT32 = WeightFormat(
    name="float32",
    layers=_layers,
    on_gpu=True,
    bytes_per_weight=4.0,
    kv_cache_dtype=np.dtype(np.float32),
    tolerance=1e-3,
    program_tolerance=1e-4,  # measured: 2e-6
)
