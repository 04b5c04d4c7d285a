"""Linear layers in 8 bits: a quarter of the memory to read, and results that do not depend on the batch.

Weights are quantised once, each output channel by its own largest value. Inputs are quantised at every call,
each row by its own values (per-token dynamic quantisation; Yao et al., 2022, ZeroQuant), so no row changes
another. Sums of 8-bit products are exact in any order.

Real models have a few inputs that are many times larger than the rest and would leave the rest only a few
levels. So inputs are balanced with their weights first: what makes an input smaller makes its weights larger
(as in SmoothQuant; Xiao et al., 2023, but without a text to calibrate with: how large inputs are is noted
while the model's own code computes a few tokens). What remains of such an input costs only its quantisation
group of 1,024 inputs their precision; in the LM head, whose errors no later layer evens out, of 256.
"""

import numpy as np
import torch
from torch import nn
from torch.nn.functional import pad

from inference.engine.compute.formats.panel_linear import PanelLinear
from inference.engine.compute.formats.panels import in_panels
from inference.engine.compute.formats.weight_format import LinearLayers, LinearWeights, WeightFormat
from inference.engine.compute.requirements import with_8_bit_products
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native.abi import PANEL
from inference.engine.native.kernels import Kernels

_DOT_INPUTS = 4
"""Inputs that one instruction multiplies and adds up."""

_CHUNK = 64
"""Inputs that the kernel takes at a time, as many as a tile register holds of a row."""

_GROUP_CHUNKS, _HEAD_GROUP_CHUNKS = 16, 4
"""How many chunks of a row share a scale: more are faster, fewer more exact."""

_LEAST = 1e-6
"""Of a mean square, relative to that of all inputs. An input that is zero for a few tokens need not be zero
for others."""

_SUMMED_AT_ONCE = 32 * PANEL
"""Output channels whose squares are added up at a time, in float64."""

_CHANNELS_AT_ONCE = 256 * PANEL
"""Output channels that are quantised at a time: for a whole LM head it would take several times its size."""


class NativeInt8Linear(PanelLinear):
    """A linear layer `[*, in] -> [*, out]` of the native kernel. It needs `kernels.has_8_bit_products`.

    Args:
        memory: for the weights.
    """

    def __init__(self, kernels: Kernels, memory: WeightMemory, linear: LinearWeights) -> None:
        weight = linear.weight
        super().__init__(kernels, weight, linear.bias)
        self._group_chunks = _HEAD_GROUP_CHUNKS if linear.is_head else _GROUP_CHUNKS
        self._input_scales = _input_scales(weight, linear.input_squares)
        self._scales = torch.zeros_like(self._bias)
        missing = -self.in_features % _CHUNK
        dots = (self.in_features + missing) // _DOT_INPUTS
        self._weight = memory.empty((len(self._bias) // PANEL, dots, PANEL, _DOT_INPUTS), torch.uint8)
        for first in range(0, self.out_features, _CHANNELS_AT_ONCE):
            balanced = weight[first : first + _CHANNELS_AT_ONCE] / self._input_scales
            quantised, scales = quantise(balanced)
            self._scales[first:][: len(scales)] = scales
            shifted = quantised.view(torch.uint8).bitwise_xor_(128)  # unsigned: 128 is added
            padded = pad(shifted, (0, missing))
            panels = in_panels(padded.unflatten(1, (-1, _DOT_INPUTS)))
            self._weight[first // PANEL :][: len(panels)] = panels

    def weight_rows(self, channels: torch.Tensor) -> torch.Tensor:
        """The weights of these output channels, `[*]`, as they are multiplied: `[*, in]`."""
        dots = self._weight.view(torch.int32).squeeze(3)
        levels = dots[channels // PANEL, :, channels % PANEL].contiguous().view(torch.uint8)
        rows: torch.Tensor = levels[..., : self.in_features].float().sub_(128)
        return rows.mul_(self._scales[channels, None]).mul_(self._input_scales)

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        self._kernels.int8_linear(
            self._weight,
            self._scales,
            self._input_scales,
            self._bias,
            x,
            out,
            group_chunks=self._group_chunks,
        )


def _input_scales(weight: torch.Tensor, squares: torch.Tensor | None) -> torch.Tensor:
    """What inputs are multiplied by before they are quantised, and their weights divided by, `[in]`.

    It is the fourth root of the root mean square of an input's weights over that of the input. The roots are
    square roots of float64, so the bits do not depend on the CPU.
    """
    chunks = weight.split(_SUMMED_AT_ONCE)
    of_weights = torch.stack([chunk.double().square().sum(0) for chunk in chunks]).sum(0)
    of_inputs = of_weights.new_zeros(()) if squares is None else squares.double()
    ratio = _relative(of_weights) / _relative(of_inputs)
    if not bool(ratio.isfinite().all()):
        return torch.ones(weight.shape[1])
    return ratio.sqrt_().sqrt_().sqrt_().float()


def _relative(squares: torch.Tensor) -> torch.Tensor:
    """Squares relative to their mean; NaN where all are zero or one is not finite."""
    return (squares / squares.mean()).clamp_(min=_LEAST)


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight`, `[out, in]`, as int8, and the scale of each output channel, `[out]`."""
    scales = (torch.linalg.vector_norm(weight, ord=torch.inf, dim=1) / 127).clamp_(
        min=torch.finfo(torch.float32).tiny
    )
    return (weight / scales[:, None]).round_().to(torch.int8), scales


def _layers(kernels: Kernels | None) -> LinearLayers:
    chosen, memory = with_8_bit_products(kernels, name="int8"), WeightMemory()

    def build(linear: LinearWeights) -> nn.Module:
        return NativeInt8Linear(chosen, memory, linear)

    return LinearLayers(library="the native kernels", build=build, native=True, uses_input_squares=True)


INT8 = WeightFormat(
    name="int8",
    layers=_layers,
    on_gpu=False,
    bytes_per_weight=1.0,
    kv_cache_dtype=np.dtype(np.float16),
    tolerance=0.5,  # measured: 0.02; noise has 1.4
    program_tolerance=0.05,  # measured: 0.012, because the last bits of a norm decide how inputs are rounded
)
