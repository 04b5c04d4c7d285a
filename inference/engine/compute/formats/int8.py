"""Linear layers in 8 bits: a quarter of the memory to read, and results that do not depend on the batch.

Weights are quantised once, each output channel by its own largest value. Inputs are quantised at every call,
each row by its own values (per-token dynamic quantisation; Yao et al., 2022, ZeroQuant), so no row changes
another. Every 64 or 128 inputs have a scale of their own, because real models have a few inputs that are many
times larger than the rest and would leave the rest only a few levels. Sums of 8-bit products are exact in any
order.
"""

import torch
from torch.nn.functional import pad

from inference.engine.compute.formats.panel_linear import PanelLinear, building
from inference.engine.compute.formats.panels import PANEL, in_panels
from inference.engine.compute.formats.weight_format import LinearLayers, WeightFormat
from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.errors import ModelUnavailable
from inference.engine.native.kernels import Kernels

_DOT_INPUTS = 4
"""Inputs that one instruction multiplies and adds up."""

_CHUNK = 64
"""Inputs that the kernel takes at a time, as many as a tile register holds of a row."""


def _group_chunks(out_features: int, in_features: int) -> int:
    """How many chunks of a row share a scale: more are faster.

    A layer that does not widen takes inputs with larger outliers, for instance an activation's, and needs the
    smaller groups: with the larger ones in all layers, `int4` had a perplexity 0.5 % higher while its down
    projections were in 8 bits.
    """
    return 2 if out_features > in_features else 1


_CHANNELS_AT_ONCE = 256 * PANEL
"""Output channels that are quantised at a time: for a whole LM head it would take several times its size."""


class NativeInt8Linear(PanelLinear):
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
        self._scales = torch.zeros_like(self._bias)
        missing = -self.in_features % _CHUNK
        dots = (self.in_features + missing) // _DOT_INPUTS
        self._weight = memory.empty((len(self._bias) // PANEL, dots, PANEL, _DOT_INPUTS), torch.uint8)
        for first in range(0, self.out_features, _CHANNELS_AT_ONCE):
            quantised, scales = quantise(weight[first : first + _CHANNELS_AT_ONCE])
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
        return rows.mul_(self._scales[channels, None])

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        group_chunks = _group_chunks(self.out_features, self.in_features)
        self._kernels.int8_linear(self._weight, self._scales, self._bias, x, out, group_chunks=group_chunks)


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight`, `[out, in]`, as int8, and the scale of each output channel, `[out]`."""
    scales = (torch.linalg.vector_norm(weight, ord=torch.inf, dim=1) / 127).clamp_(
        min=torch.finfo(torch.float32).tiny
    )
    return (weight / scales[:, None]).round_().to(torch.int8), scales


def with_8_bit_products(kernels: Kernels | None, *, name: str) -> Kernels:
    """The kernels, if they multiply inputs in 8 bits, for the format `name`.

    Raises:
        ModelUnavailable: this CPU cannot multiply them, or the native kernels are missing.
    """
    if kernels and kernels.has_8_bit_products:
        return kernels
    raise ModelUnavailable(
        f"{name} weights need the native kernels and a CPU with AVX2 or 64-bit ARM: build them with a C++ "
        "compiler (python -m inference.engine.native), or set LLM_DTYPE=float32."
    )


def _layers(kernels: Kernels | None) -> LinearLayers:
    build = building(NativeInt8Linear, with_8_bit_products(kernels, name="int8"))
    return LinearLayers(library="the native kernels", build=build, native=True)


INT8 = WeightFormat(
    name="int8",
    layers=_layers,
    on_gpu=False,
    bytes_per_weight=1.0,
    kv_cache_dtype=torch.float16,
    tolerance=0.5,  # measured: 0.02; noise has 1.4
    program_tolerance=0.05,  # measured: 0.012, because the last bits of a norm decide how inputs are rounded
)
