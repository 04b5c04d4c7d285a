"""Which device and which libraries compute the model, and what the operator is told about them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from inference.engine.blocks import blocks_of
from inference.engine.compute.model import LanguageModel
from inference.engine.compute.path import choose_path, cpu_path, stock_path
from inference.engine.compute.probe import Probe
from inference.engine.config import EngineConfig, WeightDtype
from inference.engine.errors import ModelUnavailable
from inference.engine.loader import load_engine
from inference.engine.native import generation
from inference.engine.native import kernels as native
from inference.engine.segment import Segment
from tests.models import SHAPES, compute_on, path_or_skip, prepared, save_tiny_model

TEXT = [(7 * i + 3) % 256 for i in range(75)]


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch finds CUDA, as far as the choice goes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA L4")


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.usefixtures("cuda")
def test_cuda_is_used_if_it_is_there() -> None:
    path = choose_path(device="auto", dtype="auto")
    assert path.device.type == "cuda"
    assert path.description == "on CUDA (NVIDIA L4): float32, by PyTorch's operators"
    assert choose_path(device="cuda", dtype="auto") == path
    assert choose_path(device="cpu", dtype="auto").device.type == "cpu"


@pytest.mark.usefixtures("cuda")
def test_cuda_multiplies_in_float32_whatever_the_environment_says() -> None:
    torch.set_float32_matmul_precision("high")
    choose_path(device="auto", dtype="auto")
    assert torch.get_float32_matmul_precision() == "highest"


@pytest.mark.usefixtures("cuda")
def test_int8_is_computed_on_cpus_only() -> None:
    assert choose_path(device="auto", dtype="int8").device.type == "cpu"
    with pytest.raises(ModelUnavailable, match=r"^Only CPUs compute int8 weights: set LLM_DEVICE=cpu"):
        choose_path(device="cuda", dtype="int8")


@pytest.mark.usefixtures("no_cuda")
def test_cuda_that_is_asked_for_and_missing_is_reported() -> None:
    with pytest.raises(ModelUnavailable, match=r"^LLM_DEVICE is cuda, but PyTorch finds no CUDA here: "):
        choose_path(device="cuda", dtype="auto")
    assert choose_path(device="auto", dtype="auto").device.type == "cpu"


def test_the_description_of_a_cpu_path_names_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda: None)
    monkeypatch.setattr(generation, "generation", lambda: "avx2")
    attention = "attention by PyTorch's operators (the native kernels are not built)"
    assert cpu_path().description == f"on the CPU (AVX2): float32 layers by PyTorch's oneDNN, {attention}"


@pytest.mark.parametrize("dtype", ["auto", "int8"])
def test_the_native_kernels_compute_the_layers_without_pytorchs_threads(dtype: WeightDtype) -> None:
    kernels = native.load()
    if kernels is None:
        pytest.skip("the native kernels were not built here")
    path = path_or_skip(dtype)
    assert path.description.endswith(
        f": {path.weight_format.name} layers and attention by the native kernels"
    )
    before = torch.get_num_threads()
    prepared(SHAPES["gpt2"](), kv_cache_tokens=256, path=path).use_threads(3)
    assert (torch.get_num_threads(), kernels.threads) == (1, 3)
    compute_on(before)


def test_pytorch_computes_on_its_own_threads_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "load", lambda: None)
    before = torch.get_num_threads()
    prepared(SHAPES["gpt2"](), kv_cache_tokens=256, path=cpu_path()).use_threads(3)
    assert torch.get_num_threads() == 3
    compute_on(before)


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_narrow_weights_are_refused_without_the_native_kernels(
    dtype: WeightDtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "load", lambda: None)
    needs = rf"^{dtype} weights need the native kernels .* build them with a C\+\+ compiler "
    with pytest.raises(ModelUnavailable, match=needs + r".* or set LLM_DTYPE=float32"):
        cpu_path(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_pytorch_s_own_operators_compute_the_same(shape: str) -> None:
    stock = prepared(
        SHAPES[shape](),
        kv_cache_tokens=512,
        path=stock_path(torch.device("cpu"), name="the CPU"),
    )
    fast = prepared(SHAPES[shape](), kv_cache_tokens=512)
    torch.testing.assert_close(steps(stock), steps(fast), rtol=1e-4, atol=1e-4)


def steps(model: LanguageModel) -> torch.Tensor:
    """Logits of a prompt in two chunks beside another, and of a token for each."""
    first, second = model.blocks.take(blocks_of(100)), model.blocks.take(blocks_of(50))
    assert first
    assert second
    return torch.cat(
        [
            model.forward([Segment(TEXT[:64], 0, first), Segment(TEXT[:33], 0, second)]),
            model.forward([Segment(TEXT[33:34], 33, second), Segment(TEXT[64:], 64, first)]),
            model.forward([Segment([5], 75, first), Segment([6], 34, second)]),
        ]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_all_tensors_of_a_step_are_on_the_device_and_the_logits_are_not(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # "meta" stands for a GPU: its tensors hold no numbers, and most operators refuse them beside the CPU's.
    device = torch.device("meta")
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: torch.zeros(self.shape))
    monkeypatch.setattr(Probe, "own_logits", lambda self: torch.zeros(2, 257))
    model = prepared(SHAPES[shape](), kv_cache_tokens=512, path=stock_path(device, name="a GPU"))
    seen: set[torch.device] = set()

    def look(module: torch.nn.Module, args: Any, keywords: dict[str, Any]) -> None:
        seen.update(value.device for value in keywords.values() if isinstance(value, torch.Tensor))

    model._model.register_forward_pre_hook(look, with_kwargs=True)
    assert steps(model).device.type == "cpu"
    assert seen == {device}
    assert {pool.device for pools in model._tensors._tensors.values() for pool in pools} == {device}


def test_the_log_names_the_path_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    config = EngineConfig(kv_cache_tokens=512, threads=1, device="cpu")
    engine = load_engine(save_tiny_model(tmp_path), name="my-tiny", config=config)
    engine.stop()
    assert "my-tiny is ready after " in caplog.text
    assert f"s, {cpu_path().description}. CPU threads: 1. Context: 256 tokens. Weights: " in caplog.text
    assert " MB in float32. KV cache: 512" in caplog.text
