"""The list of weight formats: each entry can be chosen, computes the model, and is near its own code."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from inference.engine import config, memory
from inference.engine.blocks import blocks_of
from inference.engine.compute.formats import FORMATS
from inference.engine.compute.formats.weight_format import LinearLayers, LinearWeights, WeightFormat
from inference.engine.compute.path import choose_path, cpu_path
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment
from tests.models import CONTEXT_LENGTH, SHAPES, path_or_skip, prepare, prepared, spread_for, tiny_gpt2

TEXT = list(range(60))


def test_the_settings_choices_are_the_list_of_formats() -> None:
    assert get_args(config.WeightDtype) == tuple(FORMATS)


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", SHAPES)
def test_each_format_computes_nearly_what_the_model_s_own_code_does(shape: str, dtype: Any) -> None:
    stock = SHAPES[shape](**spread_for(dtype))
    with torch.inference_mode():
        expected = stock(input_ids=torch.tensor([TEXT])).logits[0, -1:]
    model = prepared(stock, kv_cache_tokens=256, path=path_or_skip(dtype))
    blocks = model.blocks.take(blocks_of(len(TEXT)))
    assert blocks
    difference = model.forward([Segment(TEXT, 0, blocks)]) - expected
    assert float(difference.norm() / expected.norm()) < FORMATS[dtype].tolerance / 2


class HalfLinear(nn.Module):
    """A linear layer with its weight in bfloat16."""

    def __init__(self, linear: LinearWeights) -> None:
        super().__init__()
        self._weight = linear.weight.to(torch.bfloat16)
        self._bias = None if linear.bias is None else linear.bias.detach().clone()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(hidden, self._weight.float(), self._bias)


def half_layers(kernels: Kernels | None) -> LinearLayers:
    return LinearLayers(library="this test", build=HalfLinear, least_rows=8)


HALF = WeightFormat(
    name="bfloat16",
    layers=half_layers,
    on_gpu=False,
    bytes_per_weight=0.25,  # fewer than any other format's
    kv_cache_dtype=np.dtype(np.float16),
    tolerance=0.1,
    program_tolerance=0.01,
)


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> Callable[[WeightFormat], Any]:
    """Adds a format to the list, and to nothing else, and returns the value of the setting."""

    def add(weight_format: WeightFormat) -> Any:
        monkeypatch.setitem(FORMATS, "new", weight_format)  # type: ignore[misc]
        return "new"

    return add


@pytest.mark.parametrize("kernels", [True, False])
def test_a_format_that_is_added_to_the_list_alone_can_be_used(
    added: Callable[[WeightFormat], Any], kernels: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernels:
        monkeypatch.setattr(native, "load", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    new = added(HALF)
    path = choose_path(device="auto", dtype=new)  # it is not computed on GPUs
    assert ": bfloat16 layers by this test, attention by " in path.description
    settings = EngineConfig(kv_cache_tokens=256, dtype=new)
    model = prepare(tiny_gpt2(), name="tiny", config=settings, path=path)
    assert model.cache.dtype == np.float16
    assert any(isinstance(module, HalfLinear) for module in model._model.modules())
    rows: list[int] = []
    model._model.register_forward_pre_hook(
        lambda _, args, kw: rows.append(kw["input_ids"].numel()), with_kwargs=True
    )
    blocks = model.blocks.take(blocks_of(len(TEXT) + 1))
    assert blocks
    model.forward([Segment(TEXT, 0, blocks)])
    assert model.forward([Segment([7], len(TEXT), blocks)]).shape == (1, 257)
    assert rows == [len(TEXT), 8]


def test_a_format_that_is_for_cpus_only_is_not_computed_on_cuda(added: Callable[[WeightFormat], Any]) -> None:
    with pytest.raises(ModelUnavailable, match=r"^Only CPUs compute bfloat16 weights: set LLM_DEVICE=cpu"):
        choose_path(device="cuda", dtype=added(HALF))


def test_too_little_memory_names_the_smallest_format(
    added: Callable[[WeightFormat], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "memory_limit", lambda: 50 * 1024 * 1024)

    def refusal(dtype: Any) -> str:
        with pytest.raises(ModelUnavailable) as refused:
            memory.kv_cache_blocks(
                EngineConfig(dtype=dtype),
                token_bytes=memory.bytes_per_token(tiny_gpt2().config, np.dtype(np.float32)),
                context_length=CONTEXT_LENGTH,
            )
        return str(refused.value)

    kernels = native.load()
    if kernels and kernels.has_8_bit_products:
        assert "LLM_DTYPE=int4" in refusal("float32")
        assert "LLM_DTYPE=int4" in refusal("int8")
    assert "LLM_DTYPE" not in refusal("int4")
    with monkeypatch.context() as patched:
        patched.setattr(native, "load", lambda: None)  # so this CPU cannot compute them
        assert "LLM_DTYPE" not in refusal("float32")
    new = added(HALF)
    assert "LLM_DTYPE=new" in refusal("int8")
    assert "LLM_DTYPE" not in refusal(new)


def test_weights_that_are_read_wrong_are_not_served(added: Callable[[WeightFormat], Any]) -> None:
    class Misread(HalfLinear):
        def __init__(self, linear: LinearWeights) -> None:
            super().__init__(replace(linear, weight=linear.weight.flip(0)))

    def layers(kernels: Kernels | None) -> LinearLayers:
        return LinearLayers(library="this test", build=Misread)

    path = cpu_path(added(replace(HALF, layers=layers)))
    with pytest.raises(ModelUnavailable, match=r"with bfloat16 weights by this test: its logits are too far"):
        prepared(tiny_gpt2(), kv_cache_tokens=256, path=path)
