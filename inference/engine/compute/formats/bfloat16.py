"""Linear layers in bfloat16: twice as many products at a time as in float32, and results that do not depend
on the batch.

Weights are rounded to bfloat16 once, which changes nothing of a bfloat16 checkpoint, and inputs at every
call; sums are in float32. CPUs have instructions for that, for vectors (AVX512-BF16) or for tiles (AMX),
which add in different orders. A CPU uses one of them for any number of rows.
"""

import numpy as np
import torch
from torch.nn.functional import pad

from inference.engine.compute.formats.panel_linear import PanelLinear, building
from inference.engine.compute.formats.panels import in_panels
from inference.engine.compute.formats.weight_format import LinearLayers, WeightFormat
from inference.engine.compute.requirements import with_bfloat16
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native.abi import PANEL
from inference.engine.native.kernels import Kernels

_PAIR = 2
"""Inputs that one instruction multiplies and adds up."""

_CHUNK = 32
"""Inputs that a tile register holds of a row."""

_CHANNELS_AT_ONCE = 256 * PANEL
"""Output channels that are rounded at a time: for a whole LM head it would take several times its size."""


class NativeBFloat16Linear(PanelLinear):
    """A linear layer `[*, in] -> [*, out]` of the native kernel. It needs `kernels.has_bfloat16`.

    Args:
        memory: for the weights.
        weight: `[out, in]`, in float32, bfloat16 or float16.
        bias: `[out]`, or None.
    """

    def __init__(
        self, kernels: Kernels, memory: WeightMemory, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__(kernels, weight, bias)
        missing = -self.in_features % _CHUNK
        pairs = (self.in_features + missing) // _PAIR
        self._weight = memory.empty((len(self._bias) // PANEL, pairs, PANEL, _PAIR), torch.bfloat16)
        for first in range(0, self.out_features, _CHANNELS_AT_ONCE):
            rounded = weight[first : first + _CHANNELS_AT_ONCE].to(torch.bfloat16)
            panels = in_panels(pad(rounded, (0, missing)).unflatten(1, (-1, _PAIR)))
            self._weight[first // PANEL :][: len(panels)] = panels

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        self._kernels.bfloat16_linear(self._weight, self._bias, x, out)


def _layers(kernels: Kernels | None) -> LinearLayers:
    build = building(NativeBFloat16Linear, with_bfloat16(kernels))
    return LinearLayers(library="the native kernels", build=build, native=True, takes_narrow=True)


BFLOAT16 = WeightFormat(
    name="bfloat16",
    layers=_layers,
    on_gpu=False,
    bytes_per_weight=2.0,
    kv_cache_dtype=np.dtype(np.float16),
    tolerance=0.1,  # measured: 0.005 with SmolLM2-135M; noise has 1.4
    program_tolerance=0.02,  # as in int8: the last bits of a norm decide how inputs are rounded
)
