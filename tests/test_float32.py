import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from inference.engine.compute.formats.float32 import LEAST_ROWS, NativeLinear, PackedLinear
from inference.engine.compute.formats.weight_format import LinearWeights
from inference.engine.compute.linear import replace_linears
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native import kernels as native
from tests.models import compute_on

# GPT-2 medium's and the quick-start model's, and odd ones
SHAPES = [(3072, 1024), (1024, 4096), (576, 1536), (192, 576), (33, 48), (1, 7)]


Layer = Callable[[torch.Tensor, torch.Tensor | None], nn.Module]


@pytest.fixture(params=["native", "oneDNN"])
def kind(request: pytest.FixtureRequest) -> tuple[Layer, int]:
    """A kind of layer, and the fewest rows that it takes."""
    if request.param == "oneDNN":
        return PackedLinear, LEAST_ROWS
    kernels = native.load()
    if kernels is None:
        pytest.skip("the native kernels were not built here")
    return partial(NativeLinear, kernels, WeightMemory()), 1


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("out_features", "in_features"), SHAPES)
def test_a_row_is_the_same_bits_alone_and_among_others(
    kind: tuple[Layer, int], out_features: int, in_features: int, threads: int
) -> None:
    make, least = kind
    before = torch.get_num_threads()
    torch.manual_seed(0)
    compute_on(threads)
    layer = make(torch.randn(out_features, in_features), torch.randn(out_features))
    rows = torch.randn(300, in_features)
    alone = torch.cat([layer(row.expand(least, -1))[:1] for row in rows[:20]])
    for count in (least, 8, 15, 16, 17, 33, 64, 100, 300):
        assert torch.equal(layer(rows[:count])[:20], alone[:count])
    assert torch.equal(layer(rows[7:60])[:10], alone[7:17])
    compute_on(before)


def test_replaced_layers_compute_what_the_model_s_own_compute(kind: tuple[Layer, int]) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(48, 96), nn.ReLU(), Conv1D(33, 96), nn.Linear(33, 5, bias=False))
    nn.init.normal_(model[2].weight)  # type: ignore[arg-type]
    rows = torch.randn(4, 7, 48)
    with torch.inference_mode():
        expected = model(rows)
        make, _ = kind

        def build(linear: LinearWeights) -> nn.Module:
            return make(linear.weight, linear.bias)

        assert replace_linears(model, build, hidden_size=48, input_squares={}, head=None) == 3
        torch.testing.assert_close(model(rows), expected)
    assert not [name for name, _ in model.named_parameters()]


def test_each_weight_is_freed_before_the_next_is_packed() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    weights = [weakref.ref(layer.weight) for layer in model]
    alive = []

    def make(linear: LinearWeights) -> nn.Module:
        alive.append(sum(ref() is not None for ref in weights))
        return nn.Identity()

    replace_linears(model, make, hidden_size=4, input_squares={}, head=None)
    assert alive == [3, 2, 1]
