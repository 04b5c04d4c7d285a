"""Linear layers in 8 bits: a quarter of the memory to read, and results that do not depend on the batch.

Weights are quantised once, each output channel by its own largest value; inputs at every call, each row by
its own largest value (per-token dynamic quantisation; Yao et al., 2022, ZeroQuant), so that no row changes
another. Sums of 8-bit products are whole numbers and exact in any order.
"""

import torch
from torch import nn

from inference.engine.linear import ROWS_HINT


class Int8Linear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` that holds its weights in 8 bits alone.

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
        self._vnni = torch.cpu._is_vnni_supported()
        self._levels = 127 if self._vnni else 63
        self._scales = (weight.abs().amax(dim=1) / 127).clamp_(min=torch.finfo(torch.float32).tiny)
        if self._vnni:
            quantised = (weight / self._scales[:, None]).round_().to(torch.int8)
            self._weight = torch.ops.onednn.qlinear_prepack(quantised, [ROWS_HINT, self.in_features])
            self._zero_points = torch.zeros(self.out_features, dtype=torch.int64)
        else:
            torch.backends.quantized.engine = "fbgemm"
            quantised = torch.quantize_per_channel(
                weight,
                self._scales.double(),
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
