"""Linear layers in 8 bits: a quarter of the memory to read, and results that do not depend on the batch.

Weights are quantised once, each output channel by its own largest value; inputs at every call, each row by
its own largest value (per-token dynamic quantisation; Yao et al., 2022, ZeroQuant), so that no row changes
another. The native kernel takes one for every 32 inputs: a few inputs of real models are many times as large
as the others, and would leave these few levels. Sums of 8-bit products are exact in any order.
"""

import torch
from torch import nn
from torch.nn.functional import pad

from inference.engine.compute.formats.float32 import PANEL, ROWS_HINT, in_panels, whole_panels
from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.errors import ModelUnavailable
from inference.engine.native.kernels import Kernels

_GROUP = 4
"""Inputs that one instruction multiplies and adds up."""

_RUN, _HEAD_RUN = 32, 16
"""Inputs that share a scale, in most layers and in the LM head, whose errors no later layer evens out. Fewer
are more exact and take longer; `python -m benchmarks.perplexity` says what they come to."""

_AT_ONCE = 256 * PANEL
"""Output channels that are quantised at a time: an LM head's together would take its size many times over."""

_HEAD = 16
"""A layer with so many times more outputs than inputs is the LM head."""


class NativeInt8Linear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` by the native kernel, which `kernels.has_int8` must have.

    Args:
        memory: for the weights.
        weight: `[out, in]`, float32.
        bias: `[out]`, or None.
    """

    def __init__(
        self, kernels: Kernels, memory: WeightMemory, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._kernels = kernels
        self._run = _HEAD_RUN if self.out_features > _HEAD * self.in_features else _RUN
        self._bias = whole_panels(torch.zeros(self.out_features) if bias is None else bias.detach())
        self._scales = torch.zeros_like(self._bias)
        groups = -(-self.in_features // _GROUP)
        self._weight = memory.empty((len(self._bias) // PANEL, groups, PANEL, _GROUP), torch.uint8)
        for first in range(0, self.out_features, _AT_ONCE):
            quantised, scales = quantise(weight[first : first + _AT_ONCE])
            self._scales[first:][: len(scales)] = scales
            shifted = quantised.view(torch.uint8).bitwise_xor_(128)  # 128 more, without signs
            panels = in_panels(pad(shifted, (0, -self.in_features % _GROUP)).unflatten(1, (-1, _GROUP)))
            self._weight[first // PANEL :][: len(panels)] = panels

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        out = hidden.new_empty((*hidden.shape[:-1], self.out_features))
        self._kernels.int8_linear(
            self._weight, self._scales, self._bias, hidden.contiguous(), out, group_size=self._run
        )
        return out


def quantise(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`weight`, `[out, in]`, as int8, and of what each channel's whole numbers are multiples, `[out]`."""
    scales = (torch.linalg.vector_norm(weight, ord=torch.inf, dim=1) / 127).clamp_(
        min=torch.finfo(torch.float32).tiny
    )
    return (weight / scales[:, None]).round_().to(torch.int8), scales


def int8_operators() -> str:
    """By whose 8-bit products `Int8Linear` computes here.

    Raises:
        ModelUnavailable: PyTorch has none for this CPU that give a row the same bits in any batch.
    """
    if torch.cpu._is_vnni_supported():
        return "oneDNN"
    if "fbgemm" in torch.backends.quantized.supported_engines:
        return "fbgemm"
    raise ModelUnavailable(
        "On this kind of CPU 8-bit weights need the native kernels: build them with a C++ compiler "
        "(python -m inference.engine.native), or set LLM_QUANTIZATION=none."
    )


class Int8Linear(nn.Module):
    """The same by PyTorch's own operators, where the native kernel is not to be had.

    With VNNI the products are oneDNN's, inputs in 8 bits. Without it two products can exceed the 16 bits that
    they are added in, so inputs are taken in 7 bits; fbgemm is the faster one there.

    Args:
        weight: `[out, in]`, float32.
        bias: `[out]`, or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._bias = None if bias is None else bias.detach().clone()
        self._vnni = int8_operators() == "oneDNN"
        self._levels = 127 if self._vnni else 63
        if self._vnni:
            quantised, self._scales = quantise(weight)
            self._weight = torch.ops.onednn.qlinear_prepack(quantised, [ROWS_HINT, self.in_features])
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
        # Separate steps: fused, a product and its sum would be rounded once or twice, depending on the place.
        out = self._product(rows / scales).mul_(scales)
        if self._bias is not None:
            out.add_(self._bias)
        return out.view(*hidden.shape[:-1], self.out_features)

    def _product(self, rows: torch.Tensor) -> torch.Tensor:
        """Products with rows that are to be rounded to whole numbers within the levels: `[rows, out]`."""
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
