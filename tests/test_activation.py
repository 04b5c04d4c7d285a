"""Activations where there is no native kernel: a row has the same bits at any position."""

import pytest
import torch
from torch import nn

from inference.engine.compute.activation import RowwiseActivation


@pytest.mark.parametrize("width", [7, 56, 64, 5632, 16_390])
def test_a_row_has_the_same_bits_in_any_company(width: int) -> None:
    torch.manual_seed(0)
    activation = RowwiseActivation(nn.GELU(approximate="tanh"))
    rows = torch.randn(1, 12, width)
    computed = activation(rows)
    torch.testing.assert_close(computed, nn.functional.gelu(rows, approximate="tanh"))
    for row in range(rows.shape[1]):
        for first in range(max(0, row - 3), row + 1):
            assert torch.equal(activation(rows[:, first : row + 1])[:, -1], computed[:, row])
