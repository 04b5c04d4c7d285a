"""4-bit layers: the format's own arithmetic exactly, near float32, and as independent of the batch."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from inference.engine.blocks import blocks_of
from inference.engine.compute.formats.int4 import NativeInt4Linear
from inference.engine.compute.formats.int8 import NativeInt8Linear
from inference.engine.compute.formats.weight_format import LinearWeights
from inference.engine.compute.layer_program.module import NativeLayers
from inference.engine.compute.path import cpu_path
from inference.engine.compute.prepare import check_hooks
from inference.engine.compute.tied_embedding import replace_weights
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment
from tests.linear_layers import assert_same_bits_among_others, linear_weights
from tests.models import SHAPES, prepared, spread_for
from tests.native_generations import generations_with_8_bit_products

_LEVELS = torch.tensor([-70, -55, -44, -35, -27, -20, -14, -7, -1, 6, 12, 19, 26, 35, 45, 58])
_ODD_SHAPES = [(1, 7), (33, 48), (100, 576), (16, 32), (300, 1000)]

GENERATIONS = generations_with_8_bit_products()


@pytest.fixture(params=GENERATIONS)
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The kernels of each generation of CPUs that this one can run."""
    chosen: Kernels = request.param
    return chosen


def _layer(
    kernels: Kernels,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    importance: torch.Tensor | None = None,
) -> NativeInt4Linear:
    known = torch.ones(weight.shape[1]) if importance is None else importance
    return NativeInt4Linear(kernels, WeightMemory(), weight, bias, known)


def _unpacked(layer: NativeInt4Linear) -> tuple[torch.Tensor, torch.Tensor]:
    """The levels, `[channels, groups, 32]`, and the groups' scales, relative to the channels', in float64."""
    packed = layer._weight.unflatten(3, (16, 4)).int()
    halves = torch.stack([packed & 15, packed >> 4], dim=3)  # [panels, groups, lines, half, channel, quad]
    levels = _LEVELS[halves.permute(0, 4, 1, 2, 3, 5).flatten(3).flatten(0, 1)]
    return levels.double(), layer._group_scales.transpose(1, 2).flatten(0, 1).double()


@pytest.mark.parametrize(("out_features", "in_features"), _ODD_SHAPES)
def test_the_kernel_computes_what_the_format_says(
    kernels: Kernels, out_features: int, in_features: int
) -> None:
    torch.manual_seed(0)
    bias = torch.randn(out_features)
    layer = _layer(kernels, torch.randn(out_features, in_features), bias)
    rows = torch.randn(9, in_features)
    levels, group_scales = _unpacked(layer)
    groups = torch.nn.functional.pad(rows, (0, -in_features % 32)).unflatten(1, (-1, 32))
    largest = groups.abs().amax(2, keepdim=True)
    quantised = (groups * (127 / largest)).round().double()
    sums = torch.einsum("rgi,cgi->rcg", quantised, levels)  # exact: integers
    scales = (largest / 127).double().squeeze(2)[:, None] * group_scales
    exact = (sums * scales).sum(2) * layer._scales.double()
    computed = layer(rows).double()
    assert torch.allclose(computed, exact[:, :out_features] + bias, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("out_features", "in_features"), _ODD_SHAPES)
def test_a_row_is_near_float32_and_the_same_bits_among_others(
    kernels: Kernels, out_features: int, in_features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(out_features, in_features), torch.randn(out_features)
    layer = _layer(kernels, weight, bias)
    rows = torch.randn(70, in_features)
    rows[3] *= 1000  # an outlier takes nothing from its neighbours
    computed = layer(rows)
    for threads in (1, 3):
        monkeypatch.setattr(kernels, "threads", threads)
        assert_same_bits_among_others(
            layer, rows, computed, ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 33), (50, 3), (66, 4))
        )
    exact = rows @ weight.t() + bias
    error = (computed - exact).norm(dim=1) / exact.norm(dim=1)
    assert float(error.median()) < 0.12


@pytest.mark.skipif(len(GENERATIONS) < 2, reason="this CPU has one generation of kernels in 8 bits")
def test_every_generation_gives_the_same_bits() -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(300, 2200), torch.randn(300), torch.randn(40, 2200)
    packed = _layer(GENERATIONS[0], weight, bias)
    first, *others = [_computed_by(kernels, packed, rows) for kernels in GENERATIONS]
    for computed in others:
        assert torch.equal(computed, first)


def _computed_by(kernels: Kernels, packed: NativeInt4Linear, rows: torch.Tensor) -> torch.Tensor:
    """What other kernels compute with the same packed weights."""
    packed._kernels = kernels
    computed: torch.Tensor = packed(rows)
    return computed


def test_weights_that_are_levels_come_back_as_they_were(kernels: Kernels) -> None:
    torch.manual_seed(0)
    levels = _LEVELS[torch.randint(16, (32, 3, 32))]
    levels[:, :, 0] = _LEVELS[0]
    levels[:, 2, 1] = _LEVELS[-1]  # each group has both ends, so only one scale is free of error
    scales = torch.randint(20, 127, (32, 3, 1))
    scales[:, 0] = 127
    weight = (levels * scales).float().flatten(1) / 127
    layer = _layer(kernels, weight)
    unpacked, group_scales = _unpacked(layer)
    restored = (unpacked * group_scales[:, :, None]).flatten(1) * layer._scales.double()[:, None]
    assert float((restored - weight).norm() / weight.norm()) < 1e-3


def test_the_search_beats_rounding_to_even_levels(kernels: Kernels) -> None:
    torch.manual_seed(0)
    weight = torch.randn(64, 512)
    layer = _layer(kernels, weight)
    levels, group_scales = _unpacked(layer)
    restored = (levels * group_scales[:, :, None]).flatten(1) * layer._scales.double()[:, None]
    groups = weight.unflatten(1, (-1, 32))
    scale = groups.abs().amax(2, keepdim=True) / 7
    even = ((groups / scale).round() * scale).flatten(1)
    assert float((restored - weight).norm()) < 0.8 * float((even - weight).norm())


def test_the_weights_of_important_inputs_are_met_best(kernels: Kernels) -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(64, 512), torch.randn(200, 512)
    rows[:, 5::32] *= 20  # one input of each group
    squares = rows.square().mean(0)
    expected = rows @ weight.t()
    errors = [
        float((_layer(kernels, weight, importance=importance)(rows) - expected).norm())
        for importance in (squares, torch.ones(512))
    ]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.skipif(not GENERATIONS, reason="no int4 for this CPU")
@pytest.mark.parametrize("square", [0.0, torch.nan, torch.inf])
def test_squares_that_say_nothing_change_nothing(square: float) -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(96, 48), torch.randn(3, 48)
    assert torch.equal(_built(weight, torch.full((48,), square))(rows), _built(weight, None)(rows))


@pytest.mark.skipif(not GENERATIONS, reason="no int4 for this CPU")
def test_an_input_that_was_zero_for_a_few_tokens_counts_with_others() -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(96, 64), torch.randn(3, 64)
    squares = torch.cat([torch.zeros(32), torch.ones(32)])
    expected = rows @ weight.t()
    assert float((_built(weight, squares)(rows) - expected).norm() / expected.norm()) < 0.15


def _built(weight: torch.Tensor, squares: torch.Tensor | None) -> nn.Module:
    build = cpu_path("int4").layers.build
    assert build
    layer = build(linear_weights(weight, input_squares=squares))
    assert isinstance(layer, NativeInt4Linear)
    return layer


@pytest.mark.skipif(not GENERATIONS, reason="no int4 for this CPU")
def test_the_head_and_small_layers_stay_in_8_bits() -> None:
    hooked = check_hooks(SHAPES["llama"](**spread_for("int4")), path := cpu_path("int4"))
    assert path.layers.build
    replace_weights(hooked.model, path.layers.build, hooked.input_squares)
    kinds: dict[type, set[str]] = {NativeInt4Linear: set(), NativeInt8Linear: set()}
    for name, module in hooked.model.named_modules():
        if type(module) in kinds:
            kinds[type(module)].add(name.rpartition(".")[2])
    assert kinds[NativeInt4Linear] == {"gate_proj", "up_proj", "down_proj"}
    assert kinds[NativeInt8Linear] == {"q_proj", "k_proj", "v_proj", "o_proj", "head"}


@pytest.mark.skipif(not GENERATIONS, reason="no int4 for this CPU")
@pytest.mark.parametrize("shape", SHAPES)
def test_every_layer_is_built_with_the_squares_of_its_inputs(shape: str) -> None:
    hooked = check_hooks(SHAPES[shape](**spread_for("int4")), cpu_path("int4"))
    built: list[LinearWeights] = []

    def build(linear: LinearWeights) -> nn.Module:
        built.append(linear)
        return nn.Identity()

    replace_weights(hooked.model, build, hooked.input_squares)
    assert len(built) == len(hooked.input_squares)
    for linear in built:
        assert linear.input_squares is not None
        assert linear.input_squares.shape == linear.weight.shape[1:]
    assert [linear.is_head for linear in built].count(True) == 1


def test_transposed_weights_give_what_dense_ones_give(kernels: Kernels) -> None:
    torch.manual_seed(0)
    weight = torch.randn(96, 48)
    rows = torch.randn(5, 96)
    transposed = weight.t()  # as `Conv1D` keeps it
    expected = _layer(kernels, transposed.contiguous())(rows)
    assert torch.equal(_layer(kernels, transposed)(rows), expected)


def test_zeros_give_the_bias(kernels: Kernels) -> None:
    bias = torch.randn(8)
    assert torch.equal(_layer(kernels, torch.randn(8, 16), bias)(torch.zeros(2, 16)), bias.expand(2, -1))
    assert torch.equal(_layer(kernels, torch.zeros(8, 16), bias)(torch.randn(2, 16)), bias.expand(2, -1))


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("count", [3, 6])
def test_nan_and_infinity_stay_in_their_row(kernels: Kernels, number: float, count: int) -> None:
    layer = _layer(kernels, torch.randn(8, 40))
    rows = torch.randn(count, 40)
    expected = layer(rows)
    rows[1, 7] = number
    computed = layer(rows)
    others = [row for row in range(count) if row != 1]
    assert not computed[1].isfinite().any()
    assert torch.equal(computed[others], expected[others])


@pytest.mark.skipif(not GENERATIONS, reason="no int4 for this CPU")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_in_4_bits_keeps_the_promise(shape: str) -> None:
    model = prepared(SHAPES[shape](**spread_for("int4")), kv_cache_tokens=1024, path=cpu_path("int4"))
    assert model.reproducible
    modules = list(model._model.modules())
    assert any(isinstance(module, NativeLayers) for module in modules)


@pytest.mark.skipif(not GENERATIONS, reason="no int4 for this CPU")
def test_the_quick_start_model_in_4_bits_predicts_nearly_the_same(quickstart_model: Path) -> None:
    stock = AutoModelForCausalLM.from_pretrained(quickstart_model, dtype=torch.float32)
    text = list(range(1000, 1040))
    with torch.inference_mode():
        expected = stock(input_ids=torch.tensor([text])).logits[0, -1].softmax(0)
    model = prepared(stock, kv_cache_tokens=256, path=cpu_path("int4"))
    assert isinstance(model._model.get_output_embeddings(), NativeInt8Linear)
    blocks = model.blocks.take(blocks_of(len(text)))
    assert blocks
    computed = model.forward([Segment(text, 0, blocks)])[0].softmax(0)
    assert float((computed - expected).abs().sum()) / 2 < 0.35  # total variation distance
