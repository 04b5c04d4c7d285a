"""The bytes of tokens: joined, they are the bytes of the text, whatever the tokenizer's family."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from inference.engine.token_bytes import TokenBytes
from inference.engine.vocabulary import Vocabulary
from tests.examples import examples
from tests.models import END_OF_TEXT, byte_tokenizer
from tests.tokenizer_families import FAMILIES, SPECIAL

SMILE = "😀".encode()
CHANGES_WITH_ITS_NEIGHBOURS = ("word piece", "end of word")
"""Their decoders strip spaces before punctuation, or at the end of a text."""


@cache
def family(name: str) -> PreTrainedTokenizerFast:
    return FAMILIES[name]()


@cache
def of_folder(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    return tokenizer


@cache
def token_bytes_of(tokenizer: PreTrainedTokenizerFast) -> TokenBytes:
    return TokenBytes(tokenizer)


def joined(tokenizer: PreTrainedTokenizerFast, token_ids: list[int]) -> str:
    known = token_bytes_of(tokenizer)
    return b"".join(known.of(token_id) for token_id in token_ids).decode(errors="replace")


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - set(CHANGES_WITH_ITS_NEIGHBOURS)))
@settings(max_examples=examples(200), deadline=None)
@given(data=st.data())
def test_the_bytes_of_tokens_are_those_of_their_text(name: str, data: st.DataObject) -> None:
    tokenizer = family(name)
    special = set(Vocabulary(tokenizer, rows=len(tokenizer)).special_ids.values())
    ordinary = [i for i in range(len(tokenizer)) if i not in special and not is_byte_token(tokenizer, i)]
    token_ids = data.draw(st.lists(st.sampled_from(ordinary), min_size=1, max_size=12))
    text = str(tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))
    whole = joined(tokenizer, token_ids)
    assert whole.endswith(text)
    assert not whole.removesuffix(text).strip(" ")  # a decoder may strip the spaces of the first token


def is_byte_token(tokenizer: PreTrainedTokenizerFast, token_id: int) -> bool:
    return str(tokenizer.convert_ids_to_tokens(token_id)).startswith("<0x")


@settings(max_examples=examples(200), deadline=None)
@given(text=st.text(max_size=30))
def test_the_bytes_of_tokens_are_those_of_their_text_with_the_quick_start_models_tokenizer(
    quickstart_model: Path, text: str
) -> None:
    tokenizer = of_folder(quickstart_model)
    token_ids = tokenizer(text)["input_ids"]
    assert joined(tokenizer, token_ids) == tokenizer.decode(token_ids, clean_up_tokenization_spaces=False)


def test_part_of_a_character_has_its_bytes_alone() -> None:
    level = family("byte-level")
    tokens = level.get_vocab()
    parts = [
        token for token in tokens if token not in SPECIAL and TokenBytes(level).of(tokens[token]) == SMILE[:2]
    ]
    assert len(parts) == 1
    llama = family("llama")
    assert TokenBytes(llama).of(llama.get_vocab()["<0xF0>"]) == SMILE[:1]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_special_token_has_its_text(name: str) -> None:
    tokenizer = family(name)
    special = Vocabulary(tokenizer, rows=len(tokenizer)).special_ids
    assert {text: TokenBytes(tokenizer).of(i) for text, i in special.items()} == {
        text: text.encode() for text in special
    }


@pytest.mark.parametrize(
    ("name", "token", "expected"),
    [
        ("llama", "▁Hello", b" Hello"),
        ("metaspace", "▁世", " 世".encode()),
        ("word piece", "##ing", b"ing"),
        ("word level", "Hello", b" Hello"),
        ("end of word", "x</w>", b" x"),
    ],
)
def test_a_token_that_stands_for_a_word_has_its_space(name: str, token: str, expected: bytes) -> None:
    tokenizer = family(name)
    assert TokenBytes(tokenizer).of(tokenizer.get_vocab()[token]) == expected


def test_an_id_that_the_tokenizer_does_not_have_has_no_bytes() -> None:
    known = TokenBytes(byte_tokenizer())
    assert (known.of(256), known.of(257), known.of(10**6)) == (END_OF_TEXT.encode(), b"", b"")
