"""bfloat16 layers: the instructions' arithmetic exactly, near float32, and as independent of the batch."""

import ctypes
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import pad

from inference.engine.compute.formats.bfloat16 import NativeBFloat16Linear
from inference.engine.compute.layer_program.module import NativeLayers
from inference.engine.compute.path import cpu_path
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.loader import load_engine
from inference.engine.native import build, generation
from inference.engine.native import kernels as native
from inference.engine.native.abi import BFloat16LinearCall
from inference.engine.native.kernels import Kernels
from tests.examples import examples
from tests.linear_layers import assert_only_its_own_row_is_not_finite, assert_same_bits_among_others
from tests.models import SHAPES, prepared, save_tiny_model

Floats = NDArray[np.float32]
Add = Callable[[Floats, NDArray[np.float64]], Floats]

_CHUNK = 32
_OWN = generation.generation()
_LIBRARIES = {"any", _OWN} | ({"avx512_bf16"} if _OWN == "amx" else set())
"""Plain C++, and the instructions of this CPU."""


def _flushed(numbers: NDArray[np.floating]) -> Floats:
    """Rounded to float32, with zeros in place of denormal numbers."""
    rounded = numbers.astype(np.float32)
    return np.where(np.abs(rounded) < np.float32(2.0**-126), np.float32(0), rounded)


def _on_vectors(sums: Floats, products: NDArray[np.float64]) -> Floats:
    for pair in range(0, len(products), 2):
        for i in (1, 0):
            sums = _flushed(sums + products[pair + i])
    return sums


def _on_tiles(sums: Floats, products: NDArray[np.float64]) -> Floats:
    for first in range(0, len(products), _CHUNK):
        halves = [np.zeros_like(sums), np.zeros_like(sums)]
        for k in range(_CHUNK):
            halves[k % 2] = _flushed(halves[k % 2] + products[first + k])
        sums = _flushed(sums + _flushed(halves[0] + halves[1]))
    return sums


def _expected(weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, add: Add) -> torch.Tensor:
    """The instruction's definition. A product of two bfloat16 numbers and a float32 fit float64."""
    missing = -x.shape[1] % _CHUNK
    rows, channels = (
        _flushed(pad(factor, (0, missing)).bfloat16().float().numpy()).astype(np.float64)
        for factor in (x, weight)
    )
    with np.errstate(invalid="ignore", over="ignore"):
        products = rows.T[:, :, None] * channels.T[:, None, :]
        return torch.from_numpy(add(np.tile(_flushed(bias.numpy()), (len(x), 1)), products))


def _computed(
    name: str, function: str, weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, threads: int
) -> torch.Tensor:
    path = build.built(name)
    if path is None:
        pytest.skip(f"the kernels for {name} were not built")
    kernel = getattr(ctypes.CDLL(str(path)), function)
    kernel.argtypes, kernel.restype = [ctypes.POINTER(BFloat16LinearCall)], None
    kernels = native.load()
    assert kernels
    layer = NativeBFloat16Linear(kernels, WeightMemory(), weight, bias)
    out = torch.full((len(x), len(weight)), torch.nan)
    addresses = (tensor.data_ptr() for tensor in (layer._weight, layer._bias, x, out))
    kernel(BFloat16LinearCall(*addresses, rows=len(x), depth=x.shape[1], width=len(weight), threads=threads))
    return out


@pytest.mark.parametrize("name", sorted(_LIBRARIES))
@pytest.mark.parametrize("add", [_on_vectors, _on_tiles])
@settings(max_examples=examples(12), deadline=None)
@given(
    rows=st.integers(1, 70),
    depth=st.integers(1, 150) | st.sampled_from([544, 1056]),
    width=st.integers(1, 70),
    threads=st.integers(1, 3),
    exponent=st.sampled_from([0, -60, 60]),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_kernel_computes_what_the_instruction_is_defined_to_do(
    name: str, add: Add, rows: int, depth: int, width: int, threads: int, exponent: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(width, depth, generator=generator) * 2.0**exponent
    bias = torch.randn(width, generator=generator) * 2.0 ** (2 * exponent)
    x = torch.randn(rows, depth, generator=generator) * 2.0**exponent
    x *= torch.where(torch.rand(x.shape, generator=generator) < 0.1, 2.0**-8, 1.0)  # some become denormal
    computed = _computed(name, f"bfloat16_linear{add.__name__}", weight, bias, x, threads)
    torch.testing.assert_close(
        computed, _expected(weight, bias, x, add), rtol=0, atol=0, equal_nan=True, check_stride=False
    )


@pytest.fixture
def kernels() -> Kernels:
    loaded = native.load()
    if loaded is None or not loaded.has_bfloat16:
        pytest.skip("the native kernels were not built here, or have no bfloat16 for this CPU")
    return loaded


def _layer(kernels: Kernels, weight: torch.Tensor, bias: torch.Tensor | None = None) -> NativeBFloat16Linear:
    return NativeBFloat16Linear(kernels, WeightMemory(), weight, bias)


def test_a_cpu_with_tiles_uses_them_and_any_other_its_vectors(kernels: Kernels) -> None:
    torch.manual_seed(0)
    weight, bias, rows = torch.randn(40, 200), torch.randn(40), torch.randn(20, 200)
    kind = "tiles" if _OWN == "amx" else "vectors"
    expected = _computed("any", f"bfloat16_linear_on_{kind}", weight, bias, rows, 1)
    assert torch.equal(_layer(kernels, weight, bias)(rows), expected)


@pytest.mark.parametrize(("out_features", "in_features"), [(1024, 512), (100, 1536), (33, 48), (1, 7)])
def test_a_row_is_near_float32_and_the_same_bits_among_others(
    kernels: Kernels, out_features: int, in_features: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(out_features, in_features), torch.randn(out_features)
    layer = _layer(kernels, weight, bias)
    rows = torch.randn(100, in_features)
    computed = layer(rows)
    for threads in (1, 2, 3):
        monkeypatch.setattr(kernels, "threads", threads)
        assert_same_bits_among_others(
            layer, rows, computed, ((0, 1), (0, 2), (3, 7), (0, 15), (0, 28), (50, 29), (17, 83))
        )
    exact = rows @ weight.t() + bias
    assert float((computed - exact).norm() / exact.norm()) < 0.005


def test_the_type_and_the_order_of_the_weights_do_not_matter(kernels: Kernels) -> None:
    torch.manual_seed(0)
    weight, rows = torch.randn(192, 48).bfloat16().t(), torch.randn(5, 192)  # transposed, as `Conv1D` has it
    expected = _layer(kernels, weight)(rows)
    assert torch.equal(_layer(kernels, weight.float())(rows), expected)
    assert torch.equal(_layer(kernels, weight.contiguous())(rows), expected)


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinity_stay_in_their_row(kernels: Kernels, number: float) -> None:
    assert_only_its_own_row_is_not_finite(_layer(kernels, torch.randn(8, 20)), number)


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("shape", SHAPES)
def test_a_model_in_bfloat16_keeps_the_promise(shape: str) -> None:
    model = prepared(SHAPES[shape](), kv_cache_tokens=1024, path=cpu_path("bfloat16"))
    assert model.reproducible
    assert any(isinstance(module, NativeLayers) for module in model._model.modules())


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("narrow", [False, True])
def test_a_checkpoint_of_either_type_is_served_and_the_log_says_so(
    narrow: bool, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = save_tiny_model(tmp_path_factory.mktemp("model"), shape="llama")
    if narrow:
        torch.nn.Module.to(SHAPES["llama"](), torch.bfloat16).save_pretrained(folder)
    config = EngineConfig(kv_cache_tokens=256, threads=1, dtype="bfloat16")
    load_engine(folder, name="t", config=config).stop()
    assert "MB in bfloat16. KV cache: 256 tokens in float16." in caplog.text


def test_without_the_instructions_it_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda: None)
    with pytest.raises(ModelUnavailable, match=r"^Arithmetic in bfloat16 needs.*AVX512-BF16.*LLM_DTYPE=auto"):
        cpu_path("bfloat16")
