"""Linear layers in 4 bits: half of int8's memory to read, and results that do not depend on the batch.

A weight is one of sixteen unevenly spaced levels (as in NF4; Dettmers et al., 2023, QLoRA) times the scale
of its group of 32 inputs, which has 8 bits itself and is relative to the scale of its output channel: 4.25
bits a weight. The kernel that packs the weights searches for the scale with the least squared error. Inputs
are quantised at every call to 8 bits, 32 at a time.

The LM head stays in 8 bits, because no later layer evens out its errors. So do layers that do not widen: the
down projections, those of attention's output, and those of queries and of shared keys and values where they
are layers of their own. Their errors cost the most perplexity for their size (`docs/performance.md`).
"""

from functools import partial

import torch
from torch import nn

from inference.engine.compute.formats.int8 import NativeInt8Linear, layers_with_8_bit_products
from inference.engine.compute.formats.panel_linear import PanelLinear
from inference.engine.compute.formats.panels import PANEL
from inference.engine.compute.formats.weight_format import WeightFormat
from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.native.kernels import Kernels

_GROUP = 32
"""Inputs whose weights share a scale."""

_HEAD_RATIO = 16
"""A layer whose outputs are more than this many times its inputs is the LM head."""

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
    """

    def __init__(
        self, kernels: Kernels, memory: WeightMemory, weight: torch.Tensor, bias: torch.Tensor | None
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
                self._weight[first:last],
                self._group_scales[first:last],
                self._scales[first * PANEL : last * PANEL],
                kernels.threads,
            )

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        self._kernels.int4_linear(self._weight, self._group_scales, self._scales, self._bias, x, out)


def _build(
    kernels: Kernels, memory: WeightMemory, weight: torch.Tensor, bias: torch.Tensor | None
) -> nn.Module:
    out_features, in_features = weight.shape
    sensitive = out_features > _HEAD_RATIO * in_features or out_features <= in_features
    if sensitive:
        return NativeInt8Linear(kernels, memory, weight, bias)
    return NativeInt4Linear(kernels, memory, weight, bias)


INT4 = WeightFormat(
    name="int4",
    layers=partial(layers_with_8_bit_products, build=_build, name="int4"),
    on_gpu=False,
    bytes_per_weight=0.82,  # of all layers together: SmolLM2-135M 0.82, GPT-2 medium 0.77
    kv_cache_dtype=torch.float16,
    tolerance=0.4,  # measured: 0.13 with SmolLM2-135M, 0.19 with GPT-2 medium's shape; noise has 1.4
    program_tolerance=0.05,  # as in int8: the last bits of a norm decide how inputs are rounded
)
