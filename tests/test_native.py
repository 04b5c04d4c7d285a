"""The native kernels against PyTorch's own operators, which take their place where there is no compiler."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import gelu, scaled_dot_product_attention, silu

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.formats.float32 import NativeLinear
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.native import build
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment
from tests.models import SHAPES, compute_on, prepared
from tests.native_generations import generations
from tests.native_sources import needs_compiler

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


def attend(kernels: Kernels, *tensors: Any, scale: float, tiles: list[list[int]], tables: list[int]) -> None:
    query, key, value, pools, out = tensors
    kernels.attention(
        *(query, key, value, tuple(pool.numpy() for pool in pools), out),
        tiles=np.array(tiles, dtype=np.int64),
        tables=np.array(tables, dtype=np.int64),
        layer=0,
        scale=scale,
    )


KV_DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
HEADS = pytest.mark.parametrize(
    ("heads", "kv_heads", "dim"), [(16, 16, 64), (9, 3, 64), (4, 1, 128), (14, 2, 40), (4, 2, 7)]
)


@KV_DTYPES
@HEADS
def test_attention_is_pytorch_s_for_every_kind_of_cpu(
    heads: int, kv_heads: int, dim: int, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    # The rows of one sequence in two blocks, a generated token, a first token, and a draft.
    tiles = [[0, 9, 7 + 64, 0], [9, 16, 80, 0], [25, 1, 199, 6], [26, 1, 0, 19], [27, 4, 33, 20]]
    tables = [4, 0, 7, 1, 3, 2, *range(20, 33), 5, 11, 10, 12]
    rows, width = 31, -(-dim // BLOCK) * BLOCK
    keys = torch.randn(33, kv_heads, dim, BLOCK).to(dtype)
    values = torch.randn(33, kv_heads, BLOCK, width).to(dtype)
    query = torch.randn(1, rows, heads, dim).transpose(1, 2)
    key, value = (torch.randn(1, rows, kv_heads, dim).transpose(1, 2) for _ in range(2))
    for kernels in generations():
        pools, output = (keys.clone(), values.clone()), torch.full((rows, heads, dim), torch.nan)
        for pool in pools:  # what a row may not see has no part in its result
            pool[[0, 32, 13]] = torch.nan
        for _, _, past, table in [[0, 25, 71, 0], *tiles[2:]]:
            for at in range(past):
                block = tables[table + at // BLOCK]
                for pool, old in zip(pools, (keys, values), strict=True):
                    pool[block] = old[block]
        attend(kernels, query, key, value, pools, output, tiles=tiles, tables=tables, scale=0.3)
        for row, count, past, table in [[0, 25, 71, 0], *tiles[2:]]:
            blocks = tables[table : table + blocks_of(past + count)]
            known = pools[0][blocks].permute(1, 0, 3, 2).flatten(1, 2)[None, :, : past + count]
            seen = pools[1][blocks].transpose(0, 1).flatten(1, 2)[None, :, : past + count, :dim]
            new = slice(row, row + count)
            assert torch.equal(known[:, :, past:], key[:, :, new].to(dtype))
            assert torch.equal(seen[:, :, past:], value[:, :, new].to(dtype))
            expected = scaled_dot_product_attention(
                query[:, :, new],
                known.float(),
                seen.float(),
                attn_mask=torch.ones(count, past + count, dtype=torch.bool).tril(past),
                scale=0.3,
                enable_gqa=True,
            )
            torch.testing.assert_close(output[new], expected[0].transpose(0, 1))


def _in_8_bits(tensor: torch.Tensor) -> torch.Tensor:
    """Each token of a head as the cache keeps it: by its largest number, in 127 levels."""
    scales = tensor.abs().amax(-1, keepdim=True) / 127
    return (tensor / scales).round() * scales


@pytest.mark.parametrize(("heads", "kv_heads", "dim"), [(16, 16, 64), (9, 3, 64), (4, 1, 128), (4, 2, 7)])
def test_attention_over_keys_and_values_in_8_bits_is_that_over_the_rounded_ones(
    heads: int, kv_heads: int, dim: int
) -> None:
    torch.manual_seed(0)
    rows, width = 40, -(-dim // BLOCK) * BLOCK
    query = torch.randn(1, rows, heads, dim).transpose(1, 2)
    key, value = (torch.randn(1, rows, kv_heads, dim).transpose(1, 2) for _ in range(2))
    key[0, :, 3] *= 1000  # takes nothing from the tokens beside it
    expected = scaled_dot_product_attention(
        query, _in_8_bits(key), _in_8_bits(value), is_causal=True, scale=0.3, enable_gqa=True
    )
    for kernels in generations():
        pools = tuple(
            torch.full((5, kv_heads, (size + 4) * BLOCK), -1, dtype=torch.int8) for size in (dim, width)
        )
        output = torch.full((rows, heads, dim), torch.nan)
        tiles = [[0, 16, 0, 0], [16, 16, 16, 0], [32, 8, 32, 0]]
        attend(kernels, query, key, value, pools, output, tiles=tiles, tables=[4, 0, 2], scale=0.3)
        torch.testing.assert_close(output, expected[0].transpose(0, 1), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_number_that_is_not_finite_shows_in_the_texts_that_see_it_alone(number: float) -> None:
    for kernels in generations():
        pools = tuple(torch.zeros((2, 1, (16 + 4) * BLOCK), dtype=torch.int8) for _ in range(2))
        query, key, value = (torch.randn(1, 1, 4, 16) for _ in range(3))
        value[0, 0, 1, 5] = number
        output = torch.empty(4, 1, 16)
        tiles = [[0, 2, 0, 0], [2, 2, 0, 1]]
        attend(kernels, query, key, value, pools, output, tiles=tiles, tables=[1, 0], scale=0.3)
        assert output[[0, 2, 3]].isfinite().all()
        assert not output[1].isfinite().any()


@pytest.mark.parametrize("dim", [7, 64, 128])
def test_a_token_s_attention_reads_nothing_after_it_and_nothing_of_others(dim: int) -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 4, 16, dim) for _ in range(3))
    for kernels in generations():
        results = []
        for left_over in (0.0, torch.nan):
            new = value.clone()
            new[:, :, 9:] += left_over
            pools = tuple(
                torch.full(shape, left_over)
                for shape in ((2, 4, dim, BLOCK), (2, 4, BLOCK, -(-dim // BLOCK) * BLOCK))
            )
            output = torch.empty(16, 4, dim)
            tiles = [[0, 9, 0, 0], [9, 7, 9, 0]] if left_over else [[0, 16, 0, 0]]
            attend(kernels, query, key, new, pools, output, tiles=tiles, tables=[1], scale=0.3)
            results.append(output[:9])
        assert torch.equal(*results)


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
        keys = torch.zeros((1, 1, 7, BLOCK), dtype=torch.float16)
        values = torch.zeros((1, 1, BLOCK, BLOCK), dtype=torch.float16)
        query, output = torch.zeros(1, 1, 1, 7), torch.zeros(1, 1, 7)
        for row, rounded in zip(numbers[::97], expected[::97], strict=True):
            new = row.view(1, 1, 1, 7)
            tensors = (query, torch.zeros_like(new), new, (keys, values), output)
            attend(kernels, *tensors, tiles=[[0, 1, 0, 0]], tables=[0], scale=1.0)
            stored = values[0, 0, :1, :7]
            torch.testing.assert_close(stored, rounded.view(1, 7), rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(output[0], rounded.float(), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(("out_features", "in_features"), [(1024, 4096), (576, 1536), (33, 48), (1, 7)])
def test_linear_layers_are_pytorch_s_for_every_kind_of_cpu(out_features: int, in_features: int) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(out_features, in_features), torch.randn(out_features)
    batches = [torch.randn(count, in_features) for count in (1, 2, 5, 7, 13, 16, 17, 40)]
    wide = weight.double().t()
    products = [rows.double() @ wide for rows in batches]
    error = {"rtol": 1e-5, "atol": 2e-5 * in_features**0.5}
    for kernels in generations():
        make = partial(NativeLinear, kernels, WeightMemory())
        layer, without_bias = make(weight, bias), make(weight, None)
        for rows, exact in zip(batches, products, strict=True):
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
        blocks = model.blocks.take(blocks_of(41))
        assert blocks
        model.forward([Segment(list(range(40)), 0, blocks)])
        logits.append(model.forward([Segment([40], 40, blocks)]))
    torch.testing.assert_close(logits[0], logits[1], rtol=1e-4, atol=1e-4)
