"""The native kernel against PyTorch's own attention, which takes its place where there is no compiler."""

import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from inference.engine import native
from inference.engine.model import LanguageModel, Segment
from tests.models import SHAPES

COMPILER = shutil.which("c++") or shutil.which("g++")
needs_kernel = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler is here")


@pytest.fixture
def kernel() -> native.DecodeAttention:
    native.build()
    loaded = native.load()
    assert loaded
    return loaded


@needs_kernel
@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(16, 16, 64), (9, 3, 64), (4, 2, 7)])
def test_it_computes_what_pytorch_computes(
    kernel: native.DecodeAttention, heads: int, kv_heads: int, dim: int
) -> None:
    torch.manual_seed(0)
    lengths, starts = (1, 2, 33, 200), (0, 5, 10, 50)
    pools = (torch.randn(kv_heads, 260, dim), torch.randn(kv_heads, 260, dim))
    query = torch.randn(1, 4, heads, dim).transpose(1, 2)
    key, value = (torch.randn(1, 4, kv_heads, dim).transpose(1, 2) for _ in range(2))
    spans = torch.tensor([[i, s, n] for i, (s, n) in enumerate(zip(starts, lengths, strict=True))])
    output = torch.full((4, heads, dim), torch.nan)
    kernel(query, key, value, pools, spans, 0.3, output)
    for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
        keys, values = (pool[:, start : start + length] for pool in pools)
        assert torch.equal(keys[:, -1], key[0, :, i])
        assert torch.equal(values[:, -1], value[0, :, i])
        expected = scaled_dot_product_attention(
            query[:, :, i : i + 1], keys[None], values[None], scale=0.3, enable_gqa=True
        )
        torch.testing.assert_close(output[i], expected[0, :, 0])


@needs_kernel
def test_loading_it_leaves_tiny_numbers_alone(kernel: native.DecodeAttention) -> None:
    assert sys.float_info.min / 2 > 0
    assert float(torch.tensor([1e-40]) * 0.5) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_without_it_the_engine_computes_the_same_and_keeps_its_promise(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_kernel = LanguageModel(SHAPES[shape](), name="tiny", kv_cache_tokens=256)
    monkeypatch.setattr(native, "load", lambda: None)
    without = LanguageModel(SHAPES[shape](), name="tiny", kv_cache_tokens=256)
    assert not without.native
    assert without.reproducible
    logits = []
    for model in (with_kernel, without):
        slots = model.cache.allocate(41)
        assert slots
        model.forward([Segment(list(range(40)), 0, slots)])
        logits.append(model.forward([Segment([40], 40, slots)]))
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)


def test_no_compiler_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "attention.so")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert native.build() is None
    assert native.load() is None
