"""8-bit layers: near float32, and as independent of the batch."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import pad
from transformers import AutoModelForCausalLM

from inference.engine.blocks import blocks_of
from inference.engine.compute.formats.int8 import NativeInt8Linear, quantise
from inference.engine.compute.layer_program.module import NativeLayers
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment
from tests.linear_layers import assert_only_its_own_row_is_not_finite, linear_weights
from tests.models import SHAPES, compute_on, path_or_skip, prepared
from tests.native_generations import generations_with_8_bit_products

GENERATIONS = generations_with_8_bit_products()
Layer = Callable[[torch.Tensor, torch.Tensor | None], nn.Module]


@pytest.fixture(params=GENERATIONS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels of each generation of CPUs that this one can run."""
    chosen: Kernels = request.param
    return chosen


@pytest.fixture
def layer_of(kernels: Kernels) -> Layer:
    return lambda weight, bias: NativeInt8Linear(kernels, WeightMemory(), linear_weights(weight, bias))


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("out_features", "in_features"), [(1024, 4096), (576, 1536), (33, 48), (1, 7)])
def test_a_row_is_near_float32_and_the_same_bits_among_others(
    layer_of: Layer, out_features: int, in_features: int, threads: int
) -> None:
    before = torch.get_num_threads()
    compute_on(threads)
    torch.manual_seed(0)
    weight, bias = torch.randn(out_features, in_features), torch.randn(out_features)
    layer = layer_of(weight, bias)
    rows = torch.randn(100, in_features)
    rows[3] *= 1000  # a large row takes nothing from its neighbours
    exact = rows @ weight.t() + bias
    with torch.inference_mode():
        computed = layer(rows)
        for count in (1, 2, 3, 7, 16, 33):
            assert torch.equal(layer(rows[:count]), computed[:count])
        assert torch.equal(layer(rows[50:53]), computed[50:53])
    error = (computed - exact).norm(dim=1) / exact.norm(dim=1)
    assert float(error.median()) < 0.03
    compute_on(before)


@pytest.mark.parametrize("is_head", [False, True])
@pytest.mark.parametrize(
    ("out_features", "in_features"), [(300, 1000), (48, 2200), (64, 200), (33, 48), (1, 7)]
)
def test_every_generation_computes_what_the_format_says(
    kernels: Kernels, out_features: int, in_features: int, is_head: bool
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(out_features, in_features), torch.randn(out_features)
    spread = torch.rand(in_features) * 3 + 0.01
    rows = torch.randn(9, in_features) * spread
    rows[2] *= torch.where(torch.rand(in_features) < 0.05, 1000, 1)
    linear = linear_weights(weight, bias, input_squares=spread.square(), is_head=is_head)
    layer = NativeInt8Linear(kernels, WeightMemory(), linear)
    scales_of_inputs = layer._input_scales
    group = 256 if is_head else 1024
    groups = pad(rows * scales_of_inputs, (0, -in_features % group)).unflatten(1, (-1, group))
    largest = groups.abs().amax(2, keepdim=True).clamp(min=1e-30)
    levels = (groups * (127 / largest)).round()
    inputs = (levels.double() * (largest / 127)).flatten(1)[:, :in_features]
    quantised, scales = quantise(weight / scales_of_inputs)
    expected = inputs @ (quantised.double() * scales[:, None]).t() + bias
    computed = layer(rows)
    # A sum in float32 is as exact as its largest terms; half of a level may be rounded either way.
    error = (computed - expected).norm(dim=1) / expected.norm(dim=1)
    assert float(error.max()) < 1e-4


@pytest.mark.skipif(len(GENERATIONS) < 2, reason="this CPU has one generation of kernels in 8 bits")
def test_every_generation_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(300, 2200), torch.randn(300), torch.randn(20, 2200)
    linear = linear_weights(weight, bias, input_squares=torch.rand(2200))
    first, *others = [NativeInt8Linear(kernels, WeightMemory(), linear)(rows) for kernels in GENERATIONS]
    for computed in others:
        assert torch.equal(computed, first)


def test_a_transposed_weight_gives_what_a_dense_one_gives(kernels: Kernels) -> None:
    torch.manual_seed(0)
    # As `Conv1D` keeps it, and with more channels than are quantised at a time.
    weight, rows, squares = torch.randn(48, 4200).t(), torch.randn(5, 48), torch.rand(48)
    transposed, dense = (
        NativeInt8Linear(kernels, WeightMemory(), linear_weights(one, input_squares=squares))(rows)
        for one in (weight, weight.contiguous())
    )
    assert torch.equal(transposed, dense)
    exact = rows @ weight.t()
    assert float((dense - exact).norm() / exact.norm()) < 0.03


def test_inputs_known_to_be_large_leave_the_others_their_precision(kernels: Kernels) -> None:
    torch.manual_seed(0)
    weight = torch.randn(200, 512)
    spread = torch.where(torch.arange(512) % 50 == 7, 100.0, 1.0)
    rows = torch.randn(20, 512) * spread
    exact = rows @ weight.t()
    errors = [
        float((layer(rows) - exact).norm() / exact.norm())
        for squares in (spread.square(), None)
        for layer in [
            NativeInt8Linear(kernels, WeightMemory(), linear_weights(weight, input_squares=squares))
        ]
    ]
    assert errors[0] < errors[1] / 1.5


@pytest.mark.parametrize("number", [0.0, torch.inf, torch.nan])
def test_input_squares_that_say_nothing_change_nothing(kernels: Kernels, number: float) -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(40, 100), torch.randn(3, 100)
    plain, noted = (
        NativeInt8Linear(kernels, WeightMemory(), linear_weights(weight, input_squares=squares))
        for squares in (None, torch.full((100,), number))
    )
    assert torch.equal(noted(rows), plain(rows))


def test_a_row_of_zeros_gives_the_bias(layer_of: Layer) -> None:
    bias = torch.randn(8)
    assert torch.equal(layer_of(torch.randn(8, 16), bias)(torch.zeros(2, 16)), bias.expand(2, -1))


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_stay_in_their_row(layer_of: Layer, number: float) -> None:
    assert_only_its_own_row_is_not_finite(layer_of(torch.randn(8, 20), None), number)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_in_8_bits_keeps_the_promise(shape: str) -> None:
    model = prepared(SHAPES[shape](), kv_cache_tokens=1024, path=path_or_skip("int8"))
    assert model.reproducible
    assert any(isinstance(module, NativeLayers) for module in model._model.modules())


def test_the_quick_start_model_in_8_bits_predicts_nearly_the_same(quickstart_model: Path) -> None:
    stock = AutoModelForCausalLM.from_pretrained(quickstart_model, dtype=torch.float32)
    text = list(range(1000, 1040))
    with torch.inference_mode():
        expected = stock(input_ids=torch.tensor([text])).logits[0, -1].softmax(0)
    model = prepared(stock, kv_cache_tokens=256, path=path_or_skip("int8"))
    blocks = model.blocks.take(blocks_of(len(text)))
    assert blocks
    computed = model.forward([Segment(text, 0, blocks)])[0].softmax(0)
    assert float((computed - expected).abs().sum()) / 2 < 0.15  # total variation distance
