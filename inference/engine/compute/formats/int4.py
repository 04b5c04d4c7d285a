"""Linear layers in 4 bits: half of int8's memory to read, and results that do not depend on the batch.

A weight is one of sixteen unevenly spaced levels (as in NF4; Dettmers et al., 2023, QLoRA) times the scale
of its group of 32 inputs, which has 8 bits itself and is relative to the scale of its output channel: 4.25
bits a weight. Inputs are quantised at every call to 8 bits, 32 at a time.

The kernel that packs the weights searches for the scale with the least squared error of the outputs. So the
error of a weight counts as much as its input, whose mean square is noted while the model's own code computes
a few tokens (as in AWQ; Lin et al., 2023, but without a text to calibrate with).

The LM head stays in 8 bits, because no later layer evens out its errors. So do small layers, which save
little: those of attention's output, of queries, and of keys and values where they are layers of their own.
The latter cost the most quality for their size (`docs/performance.md`).
"""

import numpy as np
import torch
from torch import nn

from inference.engine.compute.formats.int8 import NativeInt8Linear
from inference.engine.compute.formats.panel_linear import PanelLinear
from inference.engine.compute.formats.weight_format import LinearLayers, LinearWeights, WeightFormat
from inference.engine.compute.requirements import with_8_bit_products
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native.abi import PANEL
from inference.engine.native.kernels import Kernels

_GROUP = 32
"""Inputs whose weights share a scale."""

_SMALL = 2
"""A layer with at most this many times the square of the hidden size of weights is small."""

_LEAST_IMPORTANCE = 0.001
"""Of an input, relative to the mean."""

_LINES, _QUAD = 4, 4
"""A group of a channel is stored as this many times four bytes of two levels each."""

_NUMBERS_AT_ONCE = 1 << 22
"""Weights that are quantised at a time: the kernel needs them dense."""


class NativeInt4Linear(PanelLinear):
    """A linear layer `[*, in] -> [*, out]` of the native kernel. It needs `kernels.has_8_bit_products`.

    Args:
        memory: for the weights.
        weight: `[out, in]`, float32.
        bias: `[out]`, or None.
        importance: how much the errors of an input's weights count, `[in]`; each is greater than 0.
    """

    def __init__(
        self,
        kernels: Kernels,
        memory: WeightMemory,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        importance: torch.Tensor,
    ) -> None:
        super().__init__(kernels, weight, bias)
        self._scales = torch.empty_like(self._bias)
        panels, groups = len(self._bias) // PANEL, -(-self.in_features // _GROUP)
        self._weight = memory.empty((panels, groups, _LINES, PANEL * _QUAD), torch.uint8)
        self._group_scales = memory.empty((panels, groups, PANEL), torch.int8)
        together = max(1, _NUMBERS_AT_ONCE // (PANEL * self.in_features))
        for first in range(0, panels, together):
            last = min(panels, first + together)
            kernels.int4_pack(
                weight[first * PANEL : last * PANEL].contiguous(),
                importance,
                self._weight[first:last],
                self._group_scales[first:last],
                self._scales[first * PANEL : last * PANEL],
                kernels.threads,
            )

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        self._kernels.int4_linear(self._weight, self._group_scales, self._scales, self._bias, x, out)


def _layers(kernels: Kernels | None) -> LinearLayers:
    chosen, memory = with_8_bit_products(kernels, name="int4"), WeightMemory()

    def build(linear: LinearWeights) -> nn.Module:
        if _stays_wide(linear):
            return NativeInt8Linear(chosen, memory, linear)
        return NativeInt4Linear(chosen, memory, linear.weight, linear.bias, _importance(linear))

    return LinearLayers(library="the native kernels", build=build, native=True, uses_input_squares=True)


def _stays_wide(linear: LinearWeights) -> bool:
    return linear.is_head or linear.weight.numel() <= _SMALL * linear.hidden_size**2


def _importance(linear: LinearWeights) -> torch.Tensor:
    """How much the errors of an input's weights count, `[in]`: as much as the input's squares."""
    squares = linear.input_squares
    if squares is None or not 0 < float(squares.mean()) < torch.inf:
        return torch.ones(linear.weight.shape[1])
    # An input that a few tokens leave at zero may be another one with others.
    return squares / squares.mean() + _LEAST_IMPORTANCE


INT4 = WeightFormat(
    name="int4",
    layers=_layers,
    on_gpu=False,
    bytes_per_weight=0.73,  # of all layers together: SmolLM2-135M 0.73, GPT-2 medium 0.64
    kv_cache_dtype=np.dtype(np.float16),
    tolerance=0.4,  # measured: 0.13 with SmolLM2-135M, 0.19 with GPT-2 medium's shape; noise has 1.4
    program_tolerance=0.05,  # as in int8: the last bits of a norm decide how inputs are rounded
)
