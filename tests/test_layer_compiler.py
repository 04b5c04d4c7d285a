"""Programs of layers: what is done to the results of a linear layer part by part, and in place."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import nn

from inference.engine.compute.attention import AttentionBatch
from inference.engine.compute.formats.weight_format import LinearWeights
from inference.engine.compute.layer_program.module import NativeLayers
from inference.engine.config import WeightDtype
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from tests.models import path_or_skip, prepared, tiny_of_kind
from tests.test_layer_program import WIDTH, Stack, logits, replaced, rows_of

pytestmark = pytest.mark.skipif(native.load() is None, reason="the native kernels were not built here")

DTYPES = pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8", "int4"])


@pytest.fixture(params=[1, 3])
def kernels(request: pytest.FixtureRequest) -> Iterator[Kernels]:
    """The kernels on some threads."""
    loaded = native.load()
    assert loaded
    before, loaded.threads = loaded.threads, request.param
    yield loaded
    loaded.threads = before


@DTYPES
@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_follows_a_linear_layer_has_the_same_bits_done_part_by_part(
    kind: str, dtype: WeightDtype
) -> None:
    model = prepared(tiny_of_kind(kind), kv_cache_tokens=256, path=path_or_skip(dtype))
    (layers,) = (module for module in model._model.modules() if isinstance(module, NativeLayers))
    instructions = layers._program.instructions
    assert any(instruction.follows for instruction in instructions)
    part_by_part = logits(model)
    for instruction in instructions:
        instruction.follows = False
    assert torch.equal(logits(model), part_by_part)


def linear(dtype: WeightDtype, out_features: int, in_features: int) -> Any:
    build = path_or_skip(dtype).layers.build
    assert build
    return build(
        LinearWeights(
            weight=torch.randn(out_features, in_features) / in_features**0.5,
            bias=torch.randn(out_features),
            input_squares=None,
            hidden_size=1,
            is_head=False,
        )
    )


def adds_its_own_input(hidden: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    return hidden + result


def is_read_later(hidden: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    return result.relu() * hidden - result


def takes_a_number_of_each_row(hidden: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    return hidden[..., 3:4] - result


def takes_another_number_of_itself(hidden: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    return result * result[..., 3:4] + hidden


def takes_itself_in_another_order(hidden: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    pairs = result.view(1, -1, WIDTH // 2, 2).transpose(2, 3)
    return (pairs * result.view(pairs.shape)).reshape(hidden.shape) + hidden


def is_taken_by_halves(hidden: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    low, high = result.chunk(2, dim=-1)
    return torch.cat([low * high, high - low], dim=-1) + hidden


def is_taken_twice(hidden: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    both = result * SIGNS
    return both[:1] + both[1:] * hidden


SIGNS = torch.tensor([1.5, -0.5]).view(2, 1, 1)


class Following(nn.Module):
    """A linear layer, and what takes its results."""

    def __init__(self, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear = linear("float32", WIDTH, WIDTH)
        self.signs = SIGNS
        self._function = function

    def forward(self, hidden: torch.Tensor, angles: torch.Tensor, batch: AttentionBatch) -> torch.Tensor:
        return self._function(hidden, self.linear(hidden))


@pytest.mark.parametrize(
    "function",
    [
        adds_its_own_input,
        is_read_later,
        takes_a_number_of_each_row,
        takes_another_number_of_itself,
        takes_itself_in_another_order,
        is_taken_by_halves,
        is_taken_twice,
    ],
)
def test_whatever_takes_the_results_of_a_linear_layer_gets_them(
    kernels: Kernels, function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [Following(function), Following(function)]
    program, own = replaced(layers, kernels), Stack(layers)
    for rows in (1, 2, 7, 600):
        torch.testing.assert_close(program(*rows_of(rows)), own(*rows_of(rows)))


class Wide(nn.Module):
    """A gated unit so wide that tiles compute its rows in blocks."""

    def __init__(self, dtype: WeightDtype) -> None:
        super().__init__()
        self.up, self.down = linear(dtype, 16400, WIDTH), linear(dtype, WIDTH, 16400)

    def forward(self, hidden: torch.Tensor, angles: torch.Tensor, batch: AttentionBatch) -> torch.Tensor:
        result: torch.Tensor = hidden + self.down(self.up(hidden).relu())
        return result


@DTYPES
def test_blocks_of_rows_are_each_followed_by_their_own_numbers(kernels: Kernels, dtype: WeightDtype) -> None:
    torch.manual_seed(0)
    layers: list[nn.Module] = [Wide(dtype)]
    program, own = replaced(layers, kernels), Stack(layers)
    for rows in (1, 64, 150):
        assert torch.equal(program(*rows_of(rows)), own(*rows_of(rows)))
