"""The soak of the engine with a tiny KV cache finds nothing, and finds what is broken on purpose."""

from pathlib import Path

import pytest

from benchmarks.soak import pool
from inference.engine.config import WeightDtype
from inference.engine.prefix_cache import PrefixCache
from tests.models import path_or_skip, save_tiny_model

pytestmark = pytest.mark.slow


def soak(folder: Path, *, dtype: WeightDtype = "float32") -> int:
    options = ["--seconds", "2", "--blocks", "12", "--threads", "1", "--dtype", dtype]
    return pool.main(["--model", str(save_tiny_model(folder / "tiny")), *options])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_finds_nothing(dtype: WeightDtype, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path_or_skip(dtype)
    assert soak(tmp_path, dtype=dtype) == 0
    assert "No text differs, and no block is lost." in capsys.readouterr().out


def test_it_finds_a_block_that_is_not_released(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    release = PrefixCache.release
    left_to_forget = [1]

    def forgets(cache: PrefixCache, blocks: list[int]) -> None:
        forgotten = len(blocks) > 1 and bool(left_to_forget) and left_to_forget.pop()
        release(cache, blocks[forgotten:])

    monkeypatch.setattr(PrefixCache, "release", forgets)
    assert soak(tmp_path) == 1
    assert "this is in use" in capsys.readouterr().out


def test_it_finds_a_text_that_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Texts find blocks of other tokens.
    monkeypatch.setattr(PrefixCache, "_named", lambda cache, text, count: [bytes([i]) for i in range(count)])
    assert soak(tmp_path) == 1
    assert "Another text than alone" in capsys.readouterr().out
