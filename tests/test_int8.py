"""8-bit layers: near float32, and as independent of the batch."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM

from inference.engine.blocks import blocks_of
from inference.engine.compute.formats.int8 import Int8Linear, NativeInt8Linear
from inference.engine.compute.layer_program.module import NativeLayers
from inference.engine.compute.path import cpu_path
from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.native import kernels as native
from inference.engine.segment import Segment
from tests.linear_layers import assert_only_its_own_row_is_not_finite
from tests.models import SHAPES, compute_on, prepared

Layer = Callable[[torch.Tensor, torch.Tensor | None], nn.Module]


@pytest.fixture(params=["native", "oneDNN", "fbgemm"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Layer:
    """A way to multiply, and the engine set to take it."""
    if request.param == "oneDNN" and not torch.cpu._is_vnni_supported():
        pytest.skip("this CPU has no VNNI")
    if request.param == "fbgemm" and "fbgemm" not in torch.backends.quantized.supported_engines:
        pytest.skip("this PyTorch has no fbgemm")
    kernels = native.load()
    if request.param == "native":
        if kernels is None or not kernels.has_int8:
            pytest.skip("the native kernels were not built here, or have none for this CPU")
        return partial(NativeInt8Linear, kernels, WeightMemory())
    monkeypatch.setattr(native, "load", lambda: None)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: request.param == "oneDNN")
    return Int8Linear


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("out_features", "in_features"), [(1024, 4096), (576, 1536), (33, 48), (1, 7)])
def test_a_row_is_near_float32_and_the_same_bits_among_others(
    kind: Layer, out_features: int, in_features: int, threads: int
) -> None:
    before = torch.get_num_threads()
    compute_on(threads)
    torch.manual_seed(0)
    weight, bias = torch.randn(out_features, in_features), torch.randn(out_features)
    layer = kind(weight, bias)
    rows = torch.randn(100, in_features)
    rows[3] *= 1000  # an outlier takes nothing from its neighbours
    exact = rows @ weight.t() + bias
    with torch.inference_mode():
        computed = layer(rows)
        for count in (1, 2, 3, 7, 16, 33):
            assert torch.equal(layer(rows[:count]), computed[:count])
        assert torch.equal(layer(rows[50:53]), computed[50:53])
    error = (computed - exact).norm(dim=1) / exact.norm(dim=1)
    assert float(error.median()) < 0.03
    compute_on(before)


def test_a_transposed_weight_gives_what_a_dense_one_gives(kind: Layer) -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(48, 192).t(), torch.randn(5, 48)  # as `Conv1D` keeps it
    assert torch.equal(kind(weight, None)(rows), kind(weight.contiguous(), None)(rows))


def test_a_row_of_zeros_gives_the_bias(kind: Layer) -> None:
    bias = torch.randn(8)
    assert torch.equal(kind(torch.randn(8, 16), bias)(torch.zeros(2, 16)), bias.expand(2, -1))


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_stay_in_their_row(kind: Layer, number: float) -> None:
    assert_only_its_own_row_is_not_finite(kind(torch.randn(8, 20), None), number)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_in_8_bits_keeps_the_promise(shape: str) -> None:
    model = prepared(SHAPES[shape](), kv_cache_tokens=1024, path=cpu_path("int8"))
    assert model.reproducible
    if model.path.layers.native:
        assert any(isinstance(module, NativeLayers) for module in model._model.modules())


def test_the_quick_start_model_in_8_bits_predicts_nearly_the_same(quickstart_model: Path) -> None:
    stock = AutoModelForCausalLM.from_pretrained(quickstart_model, dtype=torch.float32)
    text = list(range(1000, 1040))
    with torch.inference_mode():
        expected = stock(input_ids=torch.tensor([text])).logits[0, -1].softmax(0)
    model = prepared(stock, kv_cache_tokens=256, path=cpu_path("int8"))
    blocks = model.blocks.take(blocks_of(len(text)))
    assert blocks
    computed = model.forward([Segment(text, 0, blocks)])[0].softmax(0)
    # Without VNNI, sums of two products saturate in fbgemm.
    most = 0.15 if model.path.layers.native else 0.25
    assert float((computed - expected).abs().sum()) / 2 < most  # total variation distance
