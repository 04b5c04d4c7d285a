"""A compiled model: it computes what the model's own code does, from its inputs to its logits."""

import logging
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.compiled.inputs import Embedding, Layout, Rotary
from inference.engine.compute.compiled.tables import PackedRows, Table
from inference.engine.compute.formats.int8 import NativeInt8Linear
from inference.engine.compute.formats.weight_format import LinearWeights
from inference.engine.compute.layer_program.module import layer_program_off
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.config import WeightDtype
from inference.engine.forward_pass import ForwardPass
from inference.engine.native import kernels as native
from inference.engine.segment import Segment
from tests.examples import examples
from tests.models import (
    KINDS,
    compiled,
    path_or_skip,
    prepared,
    spread_for,
    tiny_gpt2,
    tiny_llama,
    tiny_of_kind,
)

pytestmark = pytest.mark.skipif(native.load() is None, reason="only native kernels compute compiled models")

MORE_KINDS: dict[str, dict[str, Any]] = {
    "mistral": {},
    "granite": {"embedding_multiplier": 3.0, "logits_scaling": 2.0},
    **KINDS,
}
CONTEXT = 128


def logits(model: ForwardPass) -> torch.Tensor:
    """Of a prompt beside another text, of the next token, and of all that the context still allows."""
    blocks, other = model.blocks.take(blocks_of(CONTEXT)), model.blocks.take(blocks_of(3))
    assert blocks
    assert other
    model.forward([Segment([5, 6], 0, other)])
    ids = [(31 * i + 7) % 256 for i in range(CONTEXT)]
    steps = [
        [Segment(ids[:40], 0, blocks), Segment([7], 2, other)],
        [Segment(ids[40:41], 40, blocks)],
        [Segment(ids[41:], 41, blocks, CONTEXT - 41)],
    ]
    return torch.cat([torch.tensor(np.asarray(model.forward(step))) for step in steps])


@pytest.mark.parametrize("kind", MORE_KINDS)
def test_it_computes_what_the_models_own_code_does(kind: str) -> None:
    model = compiled(tiny_of_kind(kind, **MORE_KINDS[kind]), kv_cache_tokens=256)
    assert model is not None
    with layer_program_off():
        own = prepared(tiny_of_kind(kind, **MORE_KINDS[kind]), kv_cache_tokens=256)
    torch.testing.assert_close(logits(model), logits(own), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", ["bfloat16", "int8", "int4"])
@pytest.mark.parametrize("shape", [tiny_gpt2, tiny_llama])
def test_it_computes_in_every_weight_format(shape: Any, dtype: WeightDtype) -> None:
    path = path_or_skip(dtype)
    model = compiled(shape(**spread_for(dtype)), kv_cache_tokens=256, path=path)
    assert model is not None
    own = logits(prepared(shape(**spread_for(dtype)), kv_cache_tokens=256, path=path))
    assert (logits(model) - own).norm() <= path.weight_format.program_tolerance * own.norm()


def test_what_cannot_be_compiled_is_computed_by_its_own_code(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert compiled(tiny_of_kind("gpt_neox"), kv_cache_tokens=256) is None
    assert "This kind of model is not compiled as a whole: aten." in caplog.text


def test_tables_that_cannot_be_of_positions_are_not_tried(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert compiled(tiny_of_kind("bert", is_decoder=True), kv_cache_tokens=256) is None
    assert "as a whole: the layers are given more than embeddings and rotary positions." in caplog.text


def test_a_model_that_names_no_head_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_gpt2()
    monkeypatch.setattr(model, "get_output_embeddings", lambda: None)
    assert compiled(model, kv_cache_tokens=256) is None
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


def rotary(layout: Layout = "halves", *, context_length: int = 1000) -> Rotary:
    frequencies = (1e4 ** -np.linspace(0, 1, 8)).astype(np.float32)
    return Rotary(
        frequencies=frequencies, scaling=1.5, function="cos", layout=layout, context_length=context_length
    )


@settings(max_examples=examples(30), deadline=None)
@given(st.lists(st.lists(st.integers(0, 999), min_size=1, max_size=40), min_size=1, max_size=5))
def test_a_position_turns_by_the_same_bits_whatever_else_is_asked_for(steps: list[list[int]]) -> None:
    one, tokens = rotary(), np.zeros(0, dtype=np.int64)
    alone = rotary().rows(tokens, np.arange(1000))
    for positions in steps:
        assert np.array_equal(one.rows(tokens, np.array(positions)), alone[positions])


@pytest.mark.parametrize(
    ("layout", "angles"), [("once", [0, 1, 2]), ("halves", [0, 1, 2, 0, 1, 2]), ("pairs", [0, 0, 1, 1, 2, 2])]
)
def test_a_row_has_the_cosines_where_the_model_expects_them(layout: Layout, angles: list[int]) -> None:
    frequencies = np.array([1.0, 0.1, 0.01], dtype=np.float32)
    one = Rotary(frequencies=frequencies, scaling=1.0, function="cos", layout=layout, context_length=BLOCK)
    rows = one.rows(np.zeros(0, dtype=np.int64), np.array([3]))
    np.testing.assert_allclose(rows[0], np.cos(3 * frequencies[angles]), rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_rows_of_a_table_are_widened_exactly(dtype: torch.dtype) -> None:
    numbers = torch.randn(20, 6).to(dtype)
    plain = (numbers.view(torch.uint16) if dtype is torch.bfloat16 else numbers).numpy()
    indices = np.array([3, 0, 19, 3])
    rows = Table(plain).rows(indices)
    assert rows.dtype == np.float32
    assert np.array_equal(rows, numbers.float().numpy()[indices])
    assert not np.shares_memory(rows, plain)


def test_the_rows_of_packed_weights_are_those_that_are_multiplied() -> None:
    kernels = native.load()
    assert kernels
    if not kernels.has_8_bit_products:
        pytest.skip("this CPU multiplies nothing in 8 bits")
    linear = LinearWeights(
        weight=torch.randn(50, 70), bias=None, input_squares=torch.rand(70), hidden_size=70, is_head=True
    )
    head = NativeInt8Linear(kernels, WeightMemory(), linear)
    rows = PackedRows(head._weight.numpy(), head._scales.numpy(), head._input_scales.numpy())
    indices = np.array([49, 0, 17, 49])
    assert np.array_equal(rows.rows(indices), head.weight_rows(torch.from_numpy(indices)).numpy())


def test_an_embedding_has_the_scale_of_its_model_and_its_positions() -> None:
    tokens, positions = np.eye(4, dtype=np.float32), np.full((6, 4), 0.5, dtype=np.float32)
    positions[2] = 2.0
    scaled = Embedding(tokens=Table(tokens), scale=3.0)
    assert scaled.rows(np.array([1]), np.array([0])).tolist() == [[0, 3, 0, 0]]
    both = Embedding(tokens=Table(tokens), positions=Table(positions), offset=2)
    assert both.rows(np.array([1, 1]), np.array([0, 1])).tolist() == [[2, 3, 2, 2], [0.5, 1.5, 0.5, 0.5]]
    assert tokens[1].tolist() == [0, 1, 0, 0]
