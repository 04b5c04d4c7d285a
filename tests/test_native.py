"""The native kernels against PyTorch's own operators, which take their place where there is no compiler."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from inference.engine.compute.formats.float32 import NativeLinear
from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.native import build
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment
from tests.models import SHAPES, compute_on, prepared
from tests.native_generations import generations
from tests.native_sources import needs_compiler

NONE = torch.empty((0, 4), dtype=torch.int64)
pytestmark = needs_compiler


@pytest.fixture
def kernels() -> Kernels:
    build.build()
    loaded = native.load()
    assert loaded
    return loaded


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> object:
    before = torch.get_num_threads()
    yield
    compute_on(before)


def attend(
    kernels: Kernels,
    *tensors: Any,
    scale: float,
    tiles: torch.Tensor = NONE,
    single_rows: torch.Tensor = NONE,
) -> None:
    kernels.attention(*tensors, tiles=tiles, single_rows=single_rows, layer=0, scale=scale)


KV_DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
HEADS = pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(16, 16, 64), (9, 3, 64), (4, 2, 7)])


@KV_DTYPES
@HEADS
def test_attention_is_pytorch_s_for_every_kind_of_cpu(
    heads: int, kv_heads: int, dim: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    lengths, starts = (1, 2, 33, 200), (0, 5, 10, 50)
    pools = (torch.randn(kv_heads, 260, dim).to(dtype), torch.randn(kv_heads, 260, dim).to(dtype))
    query = torch.randn(1, 4, heads, dim).transpose(1, 2)
    key, value = (torch.randn(1, 4, kv_heads, dim).transpose(1, 2) for _ in range(2))
    spans = torch.tensor([[i, s, n] for i, (s, n) in enumerate(zip(starts, lengths, strict=True))])
    for kernels in generations():
        output = torch.full((4, heads, dim), torch.nan)
        attend(kernels, query, key, value, pools, output, single_rows=spans, scale=0.3)
        for i, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            keys, values = (pool[:, start : start + length] for pool in pools)
            assert torch.equal(keys[:, -1], key[0, :, i].to(dtype))
            assert torch.equal(values[:, -1], value[0, :, i].to(dtype))
            expected = scaled_dot_product_attention(
                *(query[:, :, i : i + 1], keys[None].float(), values[None].float()),
                scale=0.3,
                enable_gqa=True,
            )
            torch.testing.assert_close(output[i], expected[0, :, 0])


@KV_DTYPES
@HEADS
def test_attention_of_prompts_is_pytorch_s_for_every_kind_of_cpu(
    heads: int, kv_heads: int, dim: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    pools = (torch.randn(kv_heads, 300, dim).to(dtype), torch.randn(kv_heads, 300, dim).to(dtype))
    query = torch.randn(1, 16 + 5 + 2, heads, dim).transpose(1, 2)
    key, value = (torch.randn(1, 16 + 5 + 2, kv_heads, dim).transpose(1, 2) for _ in range(2))
    tiles = torch.tensor([[0, 16, 3, 64], [16, 5, 200, 0], [21, 2, 120, 30]])
    for kernels in generations():
        output = torch.full((23, heads, dim), torch.nan)
        attend(kernels, query, key, value, pools, output, tiles=tiles, scale=0.3)
        for row, rows, start, first in tiles.tolist():
            keys, values = (pool[None, :, start : start + first + rows] for pool in pools)
            assert torch.equal(keys[:, :, first:], key[:, :, row : row + rows].to(dtype))
            assert torch.equal(values[:, :, first:], value[:, :, row : row + rows].to(dtype))
            expected = scaled_dot_product_attention(
                query[:, :, row : row + rows],
                keys.float(),
                values.float(),
                attn_mask=torch.ones(rows, first + rows, dtype=torch.bool).tril(first),
                scale=0.3,
                enable_gqa=True,
            )
            torch.testing.assert_close(output[row : row + rows], expected[0].transpose(0, 1))


def test_numbers_of_16_bits_are_ieee_s_for_every_kind_of_cpu() -> None:
    every = torch.arange(0, 1 << 16, dtype=torch.int32).to(torch.uint16).view(torch.float16)
    finite = every[every.isfinite()].float()
    between = (
        finite.sort().values[1:] + finite.sort().values[:-1]
    ) / 2  # halfway, and a little to both sides
    near = torch.cat(
        [finite, between, between.nextafter(torch.tensor(1e9)), between.nextafter(torch.tensor(-1e9))]
    )
    edges = torch.tensor([65519.0, 65520.0, 1e30, -1e30, torch.inf, -torch.inf, torch.nan, 1e-30, -0.0])
    numbers = torch.cat([near, edges])
    numbers = torch.cat([numbers, numbers.new_zeros(-len(numbers) % 7)]).view(-1, 1, 7)
    expected = numbers.clamp(-65504, 65504).half()
    for kernels in generations():
        keys, values = (torch.zeros((1, 1, 7), dtype=torch.float16) for _ in range(2))
        query, output = torch.zeros(1, 1, 1, 7), torch.zeros(1, 1, 7)
        span = torch.tensor([[0, 0, 1]])
        for row, rounded in zip(numbers[::97], expected[::97], strict=True):
            new = row.view(1, 1, 1, 7)
            attend(
                kernels,
                query,
                torch.zeros_like(new),
                new,
                (keys, values),
                output,
                single_rows=span,
                scale=1.0,
            )
            torch.testing.assert_close(values[0], rounded, rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(output[0], rounded.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("out_features", "in_features"), [(1024, 4096), (576, 1536), (33, 48), (1, 7)])
def test_linear_layers_are_pytorch_s_for_every_kind_of_cpu(out_features: int, in_features: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(out_features, in_features), torch.randn(out_features)
    for kernels in generations():
        make = partial(NativeLinear, kernels, WeightMemory())
        layer, without_bias = make(weight, bias), make(weight, None)
        for count in (1, 2, 5, 7, 13, 16, 17, 40):
            rows = torch.randn(count, in_features)
            exact = rows.double() @ weight.double().t()
            error = {"rtol": 1e-5, "atol": 2e-5 * in_features**0.5}
            torch.testing.assert_close(without_bias(rows).double(), exact, **error)
            torch.testing.assert_close(layer(rows).double(), exact + bias, **error)


def test_a_layer_takes_what_is_not_dense_and_of_more_dimensions(kernels: Kernels) -> None:
    layer = NativeLinear(kernels, WeightMemory(), torch.randn(5, 8), torch.randn(5))
    rows = torch.randn(2, 8, 3).transpose(1, 2)
    assert torch.equal(layer(rows), layer(rows.contiguous().view(6, 8)).view(2, 3, 5))


@pytest.mark.parametrize(
    ("name", "function"), [("gelu_tanh", partial(gelu, approximate="tanh")), ("silu", silu)]
)
def test_activations_are_pytorch_s(kernels: Kernels, name: str, function: object) -> None:
    assert callable(function)
    numbers = torch.cat([torch.linspace(-30, 30, 10_001), torch.tensor([0.0, -1e4, 1e4, torch.nan])])[None]
    out = torch.empty_like(numbers)
    kernels.activation(name, numbers, out)
    expected = function(numbers.double()).float()
    torch.testing.assert_close(out, expected, rtol=2e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("name", ["gelu_tanh", "silu"])
@pytest.mark.parametrize("width", [4096, 1536, 7])
def test_an_activated_row_is_the_same_bits_among_others(
    kernels: Kernels, name: str, width: int, threads: int
) -> None:
    torch.manual_seed(0)
    rows = torch.randn(65, width)
    kernels.threads = 1
    alone = torch.cat([_activated(kernels, name, row[None]) for row in rows])
    kernels.threads = threads
    for first, last in ((0, 65), (3, 20), (60, 62)):
        assert torch.equal(_activated(kernels, name, rows[first:last]), alone[first:last])


def _activated(kernels: Kernels, name: str, rows: torch.Tensor) -> torch.Tensor:
    out = torch.empty_like(rows)
    kernels.activation(name, rows.contiguous(), out)
    return out


def test_two_callers_at_once_get_what_each_gets_alone(kernels: Kernels) -> None:
    torch.manual_seed(0)
    kernels.threads = 3
    layer = NativeLinear(kernels, WeightMemory(), torch.randn(1024, 512), None)
    inputs = [torch.randn(count, 512) for count in (1, 5, 16, 40)]
    expected = [layer(rows) for rows in inputs]
    with ThreadPoolExecutor(max_workers=4) as callers:
        for _ in range(50):
            computed = list(callers.map(layer, inputs))
            assert all(map(torch.equal, computed, expected))


def test_loading_them_leaves_tiny_numbers_alone(kernels: Kernels) -> None:
    assert sys.float_info.min / 2 > 0
    assert float(torch.tensor([1e-40]) * 0.5) > 0


@pytest.mark.parametrize("shape", SHAPES)
def test_without_them_the_engine_computes_the_same_and_keeps_its_promise(
    shape: str, kernels: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_kernels = prepared(SHAPES[shape](), kv_cache_tokens=256)
    assert with_kernels.path.kernels
    monkeypatch.setattr(native, "load", lambda: None)
    without = prepared(SHAPES[shape](), kv_cache_tokens=256)
    assert not without.path.kernels
    assert without.reproducible
    logits = []
    for model in (with_kernels, without):
        slots = model.cache.slots.allocate(41)
        assert slots
        model.forward([Segment(list(range(40)), 0, slots)])
        logits.append(model.forward([Segment([40], 40, slots)]))
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
