"""A start with the model that an earlier one has compiled: it needs no PyTorch, and gives the same texts."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2Tokenizer

from inference.engine import warm_start
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.loader import load_engine
from inference.engine.native import kernels
from inference.engine.tokenizer_class import class_of, tokenizer_of
from llmservice.environment import BASE_DIR
from tests.models import SHAPES, byte_tokenizer, save_tiny_model, tiny_of_kind

needs_kernels = pytest.mark.skipif(
    kernels.load() is None, reason="only native kernels compute compiled models"
)

START = """
import json, sys
from pathlib import Path
from inference.engine.config import EngineConfig
from inference.engine.loader import load_engine
from inference.engine.request import Chat, GenerationRequest, SamplingParams

folder, kept = map(Path, sys.argv[1:])
config = EngineConfig(kv_cache_tokens=256, threads=1)
engine = load_engine(folder, name="tiny", config=config, packed_weights=kept)
sampling = SamplingParams(temperature=0.7, seed=3)
request = GenerationRequest(prompt="Once upon a time", max_new_tokens=20, sampling=sampling, logprobs=2)
generated = engine.submit(engine.prepare(request)).result()
engine.stop()
print(json.dumps([generated.text, repr(generated.logprobs), engine.fingerprint, "torch" in sys.modules]))
"""


def start(folder: Path, kept: Path) -> list[Any]:
    """What an engine in a process of its own generates, its fingerprint, and whether PyTorch was imported."""
    done = subprocess.run(
        [sys.executable, "-c", START, str(folder), str(kept)],
        cwd=BASE_DIR, capture_output=True, text=True, check=True,
    )  # fmt: skip
    answer: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@needs_kernels
@pytest.mark.slow  # starts processes
@pytest.mark.parametrize(("shape", "dtype"), [("gpt2", torch.float32), ("llama", torch.bfloat16)])
def test_it_imports_no_pytorch_and_gives_the_same_text(
    shape: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    folder = save_tiny_model(tmp_path / "model", shape=shape)
    SHAPES[shape]().to(dtype).save_pretrained(folder)  # type: ignore[arg-type]
    *first, with_torch = start(folder, tmp_path / "kept")
    assert with_torch
    assert start(folder, tmp_path / "kept") == [*first, False]


@needs_kernels
@pytest.mark.slow  # starts processes
def test_a_kind_of_model_that_cannot_be_compiled_starts_again_too(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    tiny_of_kind("gpt_neox").save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    first = start(folder, tmp_path / "kept")
    assert start(folder, tmp_path / "kept") == first
    assert not list((tmp_path / "kept").glob("*.compiled"))


@needs_kernels
def test_a_model_with_other_logits_is_compiled_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder, kept = save_tiny_model(tmp_path / "model"), tmp_path / "kept"
    config = EngineConfig(kv_cache_tokens=256, threads=1)
    load_engine(folder, name="tiny", config=config, packed_weights=kept).stop()
    (compiled,) = kept.glob("*.compiled")
    first = compiled.stat().st_mtime_ns
    honest = warm_start._logits
    with monkeypatch.context() as patched:
        patched.setattr(warm_start, "_logits", lambda *args: honest(*args) + 1)
        load_engine(folder, name="tiny", config=config, packed_weights=kept).stop()
    assert "The compiled model is not used and will be compiled again" in caplog.text
    assert compiled.stat().st_mtime_ns > first


@needs_kernels
@pytest.mark.parametrize(
    ("device", "torch_version", "gpu", "warm"),
    [
        ("cpu", "2.13.0", True, True),
        ("auto", "2.13.0", False, True),
        ("auto", "2.13.0+cpu", True, True),
        ("auto", "2.13.0", True, False),
        ("cuda", "2.13.0", True, False),
    ],
)
def test_where_a_gpu_may_compute_pytorch_is_asked(
    device: Any, torch_version: str, gpu: bool, warm: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warm_start, "version", lambda package: torch_version)
    monkeypatch.setattr(warm_start, "_GPUS", (str(tmp_path if gpu else tmp_path / "none"),))
    assert warm_start.may_start_warm(EngineConfig(device=device)) is warm


def test_a_tokenizer_is_loaded_by_its_class(tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    kind = class_of(tokenizer, tmp_path)
    assert kind is not None
    again = tokenizer_of(tmp_path, kind)
    assert again("Übung macht").input_ids == tokenizer("Übung macht").input_ids


def test_one_that_its_class_alone_does_not_tell_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    tokenizer.add_tokens(["more"])  # which the files do not have
    assert class_of(tokenizer, tmp_path) is None

    for module in ("elsewhere", "transformers.nowhere"):
        monkeypatch.setattr(type(tokenizer), "__module__", module)
        assert class_of(byte_tokenizer(), tmp_path) is None


def test_gpt2s_own_class_is_no_exception(tmp_path: Path) -> None:
    tokens, merges = {"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 3}, [("a", "b")]
    GPT2Tokenizer(vocab=tokens, merges=merges).save_pretrained(tmp_path)  # type: ignore[arg-type]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    kind = class_of(tokenizer, tmp_path)
    assert kind is not None
    assert tokenizer_of(tmp_path, kind)("abb").input_ids == tokenizer("abb").input_ids == [2, 1]


WITHOUT_PYTORCH = """
import sys
from pathlib import Path
sys.modules["torch"] = None
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.loader import load_engine

folder, kept = map(Path, sys.argv[1:])
try:
    load_engine(folder, name="tiny", config=EngineConfig(threads=1), packed_weights=kept).stop()
except ModelUnavailable as error:
    print(error)
"""


@pytest.mark.slow  # starts a process
def test_a_start_that_needs_pytorch_says_so_where_it_is_missing(tmp_path: Path) -> None:
    """As after an upgrade: a compiled model of another version is there, so the master has not noticed."""
    folder = save_tiny_model(tmp_path / "model")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "fp_of_another_version.compiled").touch()
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYTORCH, str(folder), str(tmp_path / "kept")],
        cwd=BASE_DIR, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("This start needs PyTorch and transformers, which cannot be imported (")
    assert done.stdout.endswith("install requirements/cpu.txt and requirements/lock/base.txt.\n")


@pytest.mark.parametrize("header", [b"\xff" * 8 + b"{}", b"\x02" + bytes(7) + b"[]", b"\x02"])
def test_a_damaged_checkpoint_is_reported_in_a_sentence(header: bytes, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(header)
    with pytest.raises(ModelUnavailable, match=rf"^The model in {folder} cannot be read: "):
        load_engine(folder, name="tiny", config=EngineConfig(threads=1))
