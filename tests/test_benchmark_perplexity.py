"""The benchmark of quality runs to its end at a toy size, and measures what it says."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from benchmarks import perplexity
from inference.engine.native import kernels as native
from tests.models import SHAPES, byte_tokenizer, save_tiny_model


@pytest.mark.parametrize("shape", SHAPES)
def test_float32_is_what_the_models_own_code_says(
    shape: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_model(tmp_path / "tiny", shape=shape, dtype="int4")  # the narrowest of those measured
    text, out = tmp_path / "text.txt", tmp_path / "perplexity.json"
    text.write_text("The same tokens, foreseen by the model's own code.")
    options = ["--text", str(text), "--threads", "1", "--out", str(out)]
    perplexity.main(["--model", str(folder), *options])

    quality = json.loads(out.read_text())["quality"]
    token_ids = torch.tensor([byte_tokenizer()(text.read_text()).input_ids])
    stock = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        expected = math.exp(stock(input_ids=token_ids, labels=token_ids).loss)
    assert quality["float32"]["perplexity"] == pytest.approx(expected, rel=1e-3)
    assert quality["float32"]["ratio"] == 1
    in_8_bits = {name: found for name, found in quality.items() if name.startswith("int8")}
    assert in_8_bits or native.load() is None
    for found in in_8_bits.values():
        assert found["ratio"] == pytest.approx(found["perplexity"] / quality["float32"]["perplexity"])
    printed = capsys.readouterr().out
    assert "text.txt" in printed
    assert all(name in printed for name in quality)


def test_the_text_that_comes_with_python_is_long_enough_for_the_default() -> None:
    assert len(perplexity.python_reference().content) > 6 * 24576


def test_windows_are_whole_and_from_all_over_the_text() -> None:
    found = perplexity.windows(list(range(1000)), size=10, tokens=45)
    assert [window[0] for window in found] == [0, 250, 500, 750]
    assert all(len(window) == 10 for window in found)


def test_a_text_shorter_than_a_window_is_one() -> None:
    assert perplexity.windows([1, 2, 3], size=10, tokens=5) == [[1, 2, 3]]


@pytest.mark.parametrize("options", [["--window", "1"], ["--text", "/dev/null"]])
def test_nothing_to_foresee_is_said(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = save_tiny_model(tmp_path / "tiny")
    with pytest.raises(SystemExit):
        perplexity.main(["--model", str(folder), *options])
    assert "2 tokens or more" in capsys.readouterr().err
