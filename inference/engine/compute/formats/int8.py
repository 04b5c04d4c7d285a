"""Linear layers in 8 bits: a quarter of the memory to read, and results that do not depend on the batch.

Weights are quantised once, each output channel by its own largest value. Inputs are quantised at every call,
each row by its own largest value (per-token dynamic quantisation; Yao et al., 2022, ZeroQuant), so no row
changes another. The native kernel quantises every 128 inputs by their own largest value, because real models
have a few inputs that are many times larger than the rest and would leave the rest only a few levels. Sums of
8-bit products are exact in any order.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import pad

from inference.engine.compute.formats.panel_linear import PanelLinear
from inference.engine.compute.formats.panels import PANEL, in_panels
from inference.engine.compute.formats.weight_format import ROWS_HINT, LinearLayers, WeightFormat
from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.errors import ModelUnavailable
from inference.engine.native.kernels import Kernels

_DOT_INPUTS = 4
"""Inputs that one instruction multiplies and adds up."""

_CHUNK = 64
"""Inputs that the kernel takes at a time, as many as a tile register holds of a row."""

_CHANNELS_AT_ONCE = 256 * PANEL
"""Output channels that are quantised at a time: for a whole LM head it would take several times its size."""


class NativeInt8Linear(PanelLinear):
    """A linear layer `[*, in] -> [*, out]` of the native kernel. It needs `kernels.has_int8`.

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

    def _multiply(self, x: torch.Tensor, out: torch.Tensor) -> None:
        self._kernels.int8_linear(self._weight, self._scales, self._bias, x, out)


class Int8Linear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` of PyTorch's own 8-bit operators.

    With VNNI, oneDNN multiplies, with inputs in 8 bits. Without it, the sum of two products can overflow 16
    bits, so inputs have 7 bits, and fbgemm multiplies, which is faster there.

    Args:
        weight: `[out, in]`, float32.
        bias: `[out]`, or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._bias = None if bias is None else bias.detach().clone()
        self._vnni = torch.cpu._is_vnni_supported()
        self._levels = 127 if self._vnni else 63
        if self._vnni:
            quantised, self._scales = quantise(weight)
            # qlinear_prepack reads a transposed weight, as GPT-2's are, in the wrong order.
            dense = quantised.contiguous()
            self._weight = torch.ops.onednn.qlinear_prepack(dense, [ROWS_HINT, self.in_features])
            self._zero_points = torch.zeros(self.out_features, dtype=torch.int64)
        else:
            torch.backends.quantized.engine = "fbgemm"
            quantised = torch.quantize_per_channel(
                weight,
                quantise(weight)[1].double(),
                torch.zeros(self.out_features, dtype=torch.int64),
                axis=0,
                dtype=torch.qint8,
            )
            self._weight = torch.ops.quantized.linear_prepack(quantised, None)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = hidden.reshape(-1, self.in_features)
        scales = rows.abs().amax(dim=1, keepdim=True).div_(self._levels)
        scales.clamp_(min=torch.finfo(torch.float32).tiny)
        # Separate steps: a fused multiply-add would round once or twice, depending on the row's position.
        out = self._product(rows / scales).mul_(scales)
        if self._bias is not None:
            out.add_(self._bias)
        return out.view(*hidden.shape[:-1], self.out_features)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        """Products with rows that are within the levels and not yet rounded: `[rows, out]`."""
        product: torch.Tensor
        if self._vnni:
            product = torch.ops.onednn.qlinear_pointwise(
                *(rows.round_().add_(128).to(torch.uint8), 1.0, 128),
                *(self._weight, self._scales, self._zero_points, None),
                *(1.0, 0, torch.float32, "none", [], ""),
            )
        else:
            product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
                rows, 1.0, 64, self._weight
            )
        return product


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight`, `[out, in]`, as int8, and the scale of each output channel, `[out]`."""
    scales = (torch.linalg.vector_norm(weight, ord=torch.inf, dim=1) / 127).clamp_(
        min=torch.finfo(torch.float32).tiny
    )
    return (weight / scales[:, None]).round_().to(torch.int8), scales


def _layers(kernels: Kernels | None) -> LinearLayers:
    if kernels and kernels.has_int8:
        build = partial(NativeInt8Linear, kernels, WeightMemory())
        return LinearLayers(library="the native kernels", build=build, native=True)
    if torch.cpu._is_vnni_supported():
        return LinearLayers(library="PyTorch's oneDNN", build=Int8Linear)
    if "fbgemm" in torch.backends.quantized.supported_engines:
        return LinearLayers(library="PyTorch's fbgemm", build=Int8Linear)
    raise ModelUnavailable(
        "On this kind of CPU int8 weights need the native kernels: build them with a C++ compiler "
        "(python -m inference.engine.native), or set LLM_DTYPE=float32."
    )


INT8 = WeightFormat(
    name="int8",
    layers=_layers,
    on_gpu=False,
    bytes_per_weight=1.0,
    kv_cache_dtype=torch.float16,
    tolerance=0.5,  # measured: 0.02 with the native kernel, 0.2 with fbgemm; noise has 1.4
    program_tolerance=0.05,  # measured: 0.012, because the last bits of a norm decide how inputs are rounded
)
