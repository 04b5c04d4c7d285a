"""A checkpoint's own types, and the room that it takes when it is read."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from inference.engine.checkpoint import bytes_when_read, checkpoint_dtype, read_model
from inference.engine.config import EngineConfig
from inference.engine.loader import load_engine
from inference.engine.native import kernels
from tests.models import SHAPES, save_tiny_model


@pytest.fixture
def narrow_llama(tmp_path: Path) -> Path:
    folder = save_tiny_model(tmp_path / "model", shape="llama")
    nn.Module.to(SHAPES["llama"](), torch.bfloat16).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_size_of_what_is_read_is_known_from_the_headers(narrow_llama: Path, dtype: torch.dtype) -> None:
    assert checkpoint_dtype(narrow_llama) is torch.bfloat16
    # Without the LM head, whose weights are those of the embedding.
    model = read_model(narrow_llama, dtype=dtype).model
    assert bytes_when_read(narrow_llama, dtype) == sum(one.nbytes for one in model.parameters())


@pytest.mark.skipif(kernels.load() is None, reason="only the native kernels' weights are kept")
def test_no_file_is_begun_on_a_volume_that_has_room_for_the_narrow_weights_alone(
    narrow_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    usage = type("Usage", (), {"free": bytes_when_read(narrow_llama, torch.float32) - 1})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    kept = tmp_path / "var" / "weights"
    for dtype, files in (("auto", 1), ("float32", 0)):
        config = EngineConfig(kv_cache_tokens=256, threads=1, dtype=dtype)  # type: ignore[arg-type]
        load_engine(narrow_llama, name="tiny", config=config, packed_weights=kept).stop()
        assert len(list(kept.glob("*.weights"))) == files
        shutil.rmtree(kept)
        assert caplog.text.count("No space left on device") == 1 - files
