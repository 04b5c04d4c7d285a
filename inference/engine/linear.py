"""The linear hook: weights packed once for oneDNN, and results that do not depend on the batch.

PyTorch's own matrix products choose another order of summation for another number of rows, so the same row
gets other last bits in another batch. oneDNN with packed weights does not, except for a row that is alone:
with AVX-512 it has a kernel of its own. So every step has LEAST_ROWS rows, padding included.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

ROWS_HINT = 16
"""The number of rows for which oneDNN lays the weights out."""

LEAST_ROWS = 6 if torch.backends.cpu.get_cpu_capability() == "AVX512" else 2
"""The fewest rows of a step: two or more for equal bits, and six where oneDNN takes longer for fewer (with
AVX-512, all layers of GPT-2 medium took 59 ms for 2 rows and 43 ms for 6)."""


class PackedLinear(nn.Module):
    """A linear layer `[*, in] -> [*, out]` in float32 that holds its weights in oneDNN's own layout alone.

    From LEAST_ROWS rows on, a row's result is the same bits whatever the others.

    Args:
        weight: `[out, in]`.
        bias: `[out]`, or None.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_HINT)
        self._bias = None if bias is None else bias.detach().clone()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        rows = hidden.reshape(-1, self.in_features)
        out: torch.Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.contiguous(), self._weight, self._bias, "none", [], ""
        )
        return out.view(*hidden.shape[:-1], self.out_features)


def packing_available() -> bool:
    """Whether this build of torch has oneDNN's packed linear layers for this CPU."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def replace_linears(model: nn.Module, layer: Callable[[torch.Tensor, torch.Tensor | None], nn.Module]) -> int:
    """Replace every linear layer of `model` (`nn.Linear`, `Conv1D`) by `layer(weight, bias)`, in place.

    Each weight, `[out, in]`, is freed as soon as it is replaced, but for one that is tied to the embeddings.

    Returns:
        The number of layers replaced.
    """
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear | Conv1D)
    ]
    for parent, name, child in found:
        weight = child.weight.detach()
        setattr(parent, name, layer(weight.t() if isinstance(child, Conv1D) else weight, child.bias))
    return len(found)
