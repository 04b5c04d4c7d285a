"""Weights that a start keeps: the next one uses them, with the same bits, and none fails because of them."""

import logging
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from inference.engine import checkpoint, model_weights
from inference.engine.compute.compiled import checked
from inference.engine.compute.formats import FORMATS
from inference.engine.compute.packed import shared_memory, tensor_file
from inference.engine.compute.packed.tensor_file import TensorWriter
from inference.engine.compute.probe import Probe
from inference.engine.config import EngineConfig, KVCacheDtype, WeightDtype
from inference.engine.loader import load_engine
from inference.engine.native import kernels
from inference.engine.request import GenerationRequest, SamplingParams
from tests.models import SHAPES, byte_tokenizer, path_or_skip, save_tiny_model, tiny_of_kind

Result = tuple[list[Any], str | None]

pytestmark = pytest.mark.skipif(kernels.load() is None, reason="only the native kernels' weights are kept")


def results(
    folder: Path,
    kept: Path | None,
    dtype: WeightDtype = "float32",
    kv_cache_dtype: KVCacheDtype = "auto",
) -> Result:
    """What an engine generates, with the bits of its log-probabilities, and its fingerprint."""
    config = EngineConfig(kv_cache_tokens=256, threads=1, dtype=dtype, kv_cache_dtype=kv_cache_dtype)
    engine = load_engine(folder, name="tiny", config=config, packed_weights=kept)
    try:
        request = GenerationRequest(
            prompt=tuple(range(1, 40)), max_new_tokens=8, sampling=SamplingParams(), logprobs=3
        )
        generated = engine.submit(engine.prepare(request)).result()
        return [generated.text, *map(repr, generated.logprobs)], engine.fingerprint
    finally:
        engine.stop()


@contextmanager
def refusing(monkeypatch: pytest.MonkeyPatch, *calls: tuple[object, str]) -> Iterator[None]:
    """While entered, each of these attributes fails when it is called."""
    with monkeypatch.context() as patched:
        for owner, name in calls:

            def refused(*_: object, _name: str = name, **__: object) -> None:
                raise AssertionError(f"{_name} was called")

            patched.setattr(owner, name, refused)
        yield


CHECKPOINT = ((model_weights, "read_model"),)
COMPILING = ((checked, "compile_model"), (Probe, "rows_are_independent"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "model")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "var" / "weights"


def the_file(kept: Path) -> Path:
    (file,) = kept.glob("*.weights")
    return file


@pytest.mark.parametrize("dtype", FORMATS)
@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_the_next_start_reads_no_checkpoint_and_gives_the_same_bits(
    shape: str, dtype: WeightDtype, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not path_or_skip(dtype).layers.native:
        pytest.skip("computed without the native kernels here")
    folder = save_tiny_model(tmp_path / "model", shape=shape, dtype=dtype)
    plain = results(folder, None, dtype)
    assert results(folder, kept, dtype) == plain
    with refusing(monkeypatch, *CHECKPOINT):
        assert results(folder, kept, dtype) == plain


@pytest.mark.parametrize("shape", ["gpt2", "llama"])
def test_the_next_start_has_the_model_compiled(
    shape: str, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_model(tmp_path / "model", shape=shape)
    plain = results(folder, kept)
    with refusing(monkeypatch, *COMPILING):
        assert results(folder, kept) == plain
    # Another KV cache rounds otherwise, so its rows are tried.
    with pytest.raises(AssertionError), refusing(monkeypatch, *COMPILING):
        results(folder, kept, kv_cache_dtype="float16")


def test_a_damaged_model_is_compiled_again(model: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = results(model, kept)
    (compiled,) = kept.glob("*.compiled")
    content = bytearray(compiled.read_bytes())
    content[100] ^= 1
    compiled.write_bytes(content)
    assert results(model, kept) == plain
    with refusing(monkeypatch, *COMPILING):
        assert results(model, kept) == plain


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_an_embedding_is_kept_tied_or_not(
    tied: bool, dtype: WeightDtype, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path_or_skip(dtype)
    folder = tmp_path / "model"
    tiny_of_kind("llama", tie_word_embeddings=tied).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    plain = results(folder, None, dtype)
    assert results(folder, kept, dtype) == plain
    with refusing(monkeypatch, *CHECKPOINT):
        assert results(folder, kept, dtype) == plain


def test_narrow_weights_are_kept_narrow(tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "model", shape="llama")
    nn.Module.to(SHAPES["llama"](), torch.bfloat16).save_pretrained(folder)
    plain = results(folder, None, "auto")
    results(folder, kept, "float32")
    wide = the_file(kept)
    assert results(folder, kept, "auto") == plain
    (narrow,) = set(kept.glob("*.weights")) - {wide}
    assert narrow.stat().st_size < wide.stat().st_size
    with refusing(monkeypatch, *CHECKPOINT):
        assert results(folder, kept, "auto") == plain


@pytest.mark.parametrize("damage", ["changed", "truncated", "emptied", "description", "replaced"])
def test_a_damaged_file_is_written_again(
    damage: str, model: Path, kept: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = results(model, kept)
    file = the_file(kept)
    # A living process would have its weights in memory, and its successor would not read the file.
    file.with_suffix(".shared").unlink()
    content = bytearray(file.read_bytes())
    if damage == "changed":
        content[100_000] ^= 1
    elif damage == "description":
        content[-200] ^= 1
    changed = {"truncated": bytes(content[:-4096]), "emptied": b"", "replaced": os.urandom(5000)}
    file.write_bytes(changed.get(damage, bytes(content)))
    assert results(model, kept) == plain
    assert "packed again" in caplog.text
    with refusing(monkeypatch, *CHECKPOINT):
        assert results(model, kept) == plain


def test_weights_that_give_other_logits_are_not_used(
    model: Path, kept: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = results(model, kept)
    file = the_file(kept)
    file.with_suffix(".shared").unlink()
    content = bytearray(file.read_bytes())
    content[4096:65536] = bytes(65536 - 4096)
    file.write_bytes(content)
    with monkeypatch.context() as patched:
        patched.setattr(tensor_file, "_checksums", lambda _: [])
        text = file.read_bytes()
        _forge(file, text)
        assert results(model, kept) == plain
    assert "will be packed again" in caplog.text
    assert not file.exists()


def _forge(file: Path, content: bytes) -> None:
    """Write the file again without checksums, so that no change of its weights is noticed."""
    old = tensor_file.TensorFile(file)
    memory = torch.frombuffer(bytearray(content[: old.size]), dtype=torch.uint8)
    with file.open("w+b") as opened:
        writer = TensorWriter(opened)
        writer.add(memory)
        writer.finish(old.description)


def test_another_checkpoint_in_the_same_folder_is_packed_anew(model: Path, kept: Path) -> None:
    before = results(model, kept)
    save_tiny_model(model, context_length=96)
    SHAPES["gpt2"](seed=1).save_pretrained(model)
    after = results(model, kept)
    assert after == results(model, None)
    assert after != before


@pytest.mark.parametrize("obstacle", ["a file in place of the folder", "little space", "space that runs out"])
def test_a_start_that_cannot_write_says_so_once_and_serves(
    obstacle: str, model: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = results(model, None)
    kept.parent.mkdir()
    if obstacle == "a file in place of the folder":
        kept.touch()
    elif obstacle == "little space":
        usage = type("Usage", (), {"free": 0})
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if obstacle == "space that runs out":
        resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))
    try:
        assert results(model, kept) == plain
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caplog.text.count("Packed weights are not kept") == 1
    assert obstacle.startswith("a file") or not list(kept.glob("*.*"))


def test_a_model_that_a_file_cannot_hold_is_served_without_one(
    model: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    read = checkpoint.read_model

    def with_a_tensor(folder: Path, *, dtype: torch.dtype) -> Any:
        model = read(folder, dtype=dtype)
        vars(model)["extra"] = torch.ones(1)
        return model

    plain = results(model, None)
    monkeypatch.setattr(model_weights, "read_model", with_a_tensor)
    assert results(model, kept) == plain
    assert "neither parameter nor buffer" in caplog.text
    assert not list(kept.glob("*.weights"))


@pytest.mark.parametrize("kind", ["qwen2", "gpt_neox", "opt"])
def test_further_kinds_of_models_are_kept(
    kind: str, tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_of_kind(kind).save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    plain = results(tmp_path / "model", kept)
    with refusing(monkeypatch, *CHECKPOINT):
        assert results(tmp_path / "model", kept) == plain


def test_without_huge_pages_each_process_has_memory_of_its_own(
    model: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object) -> None:
        raise shared_memory.NoHugePages("there are none")

    plain = results(model, None)
    monkeypatch.setattr(shared_memory, "create", none)
    assert results(model, kept) == plain
    with refusing(monkeypatch, *CHECKPOINT):
        assert results(model, kept) == plain
