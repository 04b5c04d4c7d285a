"""Checkpoints in bfloat16 and float16: half the memory, and the bits of the same checkpoint in float32."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel

from inference.engine.blocks import blocks_of
from inference.engine.checkpoint import checkpoint_dtype, read_model
from inference.engine.compute.device_memory import weight_bytes
from inference.engine.compute.formats import FORMATS
from inference.engine.compute.formats.float32 import NativeLinear
from inference.engine.compute.model import LanguageModel
from inference.engine.compute.narrow_weights import WidenedEmbedding
from inference.engine.compute.path import cpu_path
from inference.engine.compute.weight_tensors import WeightMemory
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.loader import load_engine
from inference.engine.native import kernels as native
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.segment import Segment
from tests.examples import examples
from tests.models import SHAPES, byte_tokenizer, prepared, tiny_of_kind
from tests.native_generations import generations

NARROW = [torch.bfloat16, torch.float16]
KINDS = ["gpt2", "llama", "qwen2", "gemma", "opt", "gpt_neox", "mixtral"]
needs_kernels = pytest.mark.skipif(native.load() is None, reason="the native kernels were not built here")


def stock(kind: str) -> PreTrainedModel:
    return SHAPES[kind]() if kind in SHAPES else tiny_of_kind(kind)


def saved(folder: Path, kind: str, dtype: torch.dtype) -> Path:
    model: Any = stock(kind)
    model.to(dtype).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def logits(model: LanguageModel) -> torch.Tensor:
    """Of a prompt, of a batch with another prompt, and of two decoded tokens."""
    first, second = model.blocks.take(blocks_of(60)), model.blocks.take(blocks_of(40))
    assert first
    assert second
    ids = [(7 * i + 3) % 250 for i in range(60)]
    return torch.cat(
        [
            model.forward([Segment(ids[:30], 0, first)]),
            model.forward([Segment(ids[30:50], 30, first), Segment(ids[:33], 0, second)]),
            model.forward([Segment(ids[50:51], 50, first), Segment(ids[33:34], 33, second)]),
        ]
    )


@needs_kernels
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("kind", KINDS)
def test_logits_have_the_bits_of_float32(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    folder = saved(tmp_path, kind, dtype)
    assert checkpoint_dtype(folder) is dtype
    narrow, wide = (
        prepared(read_model(folder, dtype=read), kv_cache_tokens=256, path=path)
        for read, path in ((dtype, cpu_path("auto")), (torch.float32, cpu_path("float32")))
    )
    assert torch.equal(logits(narrow), logits(wide))


@needs_kernels
@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", SHAPES)
def test_texts_and_the_fingerprint_are_those_of_float32(
    tmp_path: Path, shape: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    folder = saved(tmp_path, shape, dtype)

    def text(engine: Engine) -> list[int]:
        request = GenerationRequest(
            prompt=(1, 2, 3), max_new_tokens=40, sampling=SamplingParams(do_sample=True, seed=5)
        )
        tokens = engine.submit(engine.prepare(request)).result().token_ids
        engine.stop()
        return list(tokens)

    own, float32 = (
        load_engine(folder, name="t", config=EngineConfig(kv_cache_tokens=256, threads=1, dtype=setting))
        for setting in ("auto", "float32")
    )
    assert own.fingerprint == float32.fingerprint
    assert text(own) == text(float32)
    assert f"MB in {str(dtype).removeprefix('torch.')}. KV cache" in caplog.text


@pytest.mark.parametrize("dtype", NARROW)
@pytest.mark.parametrize("shape", SHAPES)
def test_matrices_stay_narrow_and_all_else_is_float32(tmp_path: Path, shape: str, dtype: torch.dtype) -> None:
    model = read_model(saved(tmp_path, shape, dtype), dtype=dtype)
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    assert isinstance(embedding, WidenedEmbedding)
    assert head.weight.dtype is dtype
    assert head.weight.data_ptr() == embedding.weight.data_ptr()
    for name, parameter in model.named_parameters():
        small = "norm" in name or ".ln" in name or "wpe" in name or name.endswith("bias")
        assert parameter.dtype is (torch.float32 if small else dtype), name
    wide = read_model(tmp_path, dtype=torch.float32)
    narrow_size, wide_size, int8_size = (
        weight_bytes(model, FORMATS["auto"]),
        weight_bytes(wide, FORMATS["float32"]),
        weight_bytes(wide, FORMATS["int8"]),
    )
    assert 0.5 * wide_size <= narrow_size < 0.6 * wide_size
    assert int8_size < narrow_size


def test_without_kernels_the_weights_are_widened_and_the_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(native, "load", lambda: None)
    folder = saved(tmp_path, "llama", torch.bfloat16)
    load_engine(folder, name="t", config=EngineConfig(kv_cache_tokens=256, threads=1)).stop()
    assert "The checkpoint's bfloat16 weights take twice the memory, in float32" in caplog.text
    assert "MB in float32. KV cache" in caplog.text


def test_a_checkpoint_of_several_types_is_read_in_float32(tmp_path: Path) -> None:
    file = saved(tmp_path, "llama", torch.bfloat16) / "model.safetensors"
    tensors = load_file(file)
    norms = {name: tensor.float() for name, tensor in tensors.items() if tensor.dim() == 1}
    save_file(tensors | norms, file, {"format": "pt"})
    assert checkpoint_dtype(tmp_path) is torch.bfloat16
    wide = next(name for name, tensor in tensors.items() if tensor.dim() == 2)
    save_file(tensors | {wide: tensors[wide].float()}, file, {"format": "pt"})
    assert checkpoint_dtype(tmp_path) is torch.float32


@needs_kernels
@settings(max_examples=examples(60), deadline=None)
@given(data=st.data())
def test_the_kernel_s_products_have_the_bits_of_float32(data: st.DataObject) -> None:
    """Any shape and batch, subnormal values included, on every generation that runs here."""
    out, depth, rows = (data.draw(st.integers(1, most)) for most in (90, 200, 40))
    dtype = data.draw(st.sampled_from(NARROW))
    torch.manual_seed(data.draw(st.integers(0, 2**30)))
    exponents = torch.randint(data.draw(st.sampled_from([-4, -24, -140])), 5, (out, depth)).float()
    weight = (torch.randn(out, depth) * exponents.exp2()).to(dtype)
    bias, x = torch.randn(out), torch.randn(rows, depth)
    for kernels in generations():
        narrow, wide = (NativeLinear(kernels, WeightMemory(), w, bias) for w in (weight, weight.float()))
        assert torch.equal(narrow(x), wide(x))
