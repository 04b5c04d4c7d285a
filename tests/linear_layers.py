"""What linear layers of every weight format promise."""

from collections.abc import Iterable

import torch
from torch import nn

from inference.engine.compute.formats.weight_format import LinearWeights


def linear_weights(
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    *,
    input_squares: torch.Tensor | None = None,
    is_head: bool = False,
) -> LinearWeights:
    """A layer of a model that does not say how wide its hidden states are."""
    return LinearWeights(
        weight=weight, bias=bias, input_squares=input_squares, hidden_size=1, is_head=is_head
    )


def assert_only_its_own_row_is_not_finite(layer: nn.Module, number: float) -> None:
    """`layer` takes 20 inputs."""
    rows = torch.randn(3, 20)
    expected = layer(rows)
    rows[1, 7] = number
    computed = layer(rows)
    assert not computed[1].isfinite().any()
    assert torch.equal(computed[[0, 2]], expected[[0, 2]])


def assert_same_bits_among_others(
    layer: nn.Module, rows: torch.Tensor, computed: torch.Tensor, segments: Iterable[tuple[int, int]]
) -> None:
    """Rows computed together in segments, each of a first row and a count, have the bits of `computed`."""
    assert layer(rows[:0]).shape == computed[:0].shape
    for first, count in segments:
        assert torch.equal(layer(rows[first : first + count]), computed[first : first + count])
