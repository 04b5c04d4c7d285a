"""What the tokenizer and the model's embedding make of a prompt."""

import logging

import pytest
from transformers import PreTrainedTokenizerFast

from inference.engine.errors import TokenWithoutEmbedding
from inference.engine.vocabulary import Kind, Vocabulary
from tests.models import END_OF_TEXT, byte_tokenizer
from tests.tokenizer_families import byte_level, llama


def vocabulary(tokenizer: PreTrainedTokenizerFast, *, rows: int | None = None) -> Vocabulary:
    return Vocabulary(tokenizer, rows=len(tokenizer) if rows is None else rows)


@pytest.mark.parametrize(("prompt", "times"), [("ab", 1), ("<s>ab", 1), ("<s><s>ab", 2), ("<s>", 1), ("", 1)])
def test_a_prompt_begins_with_bos_once_or_as_often_as_it_says(prompt: str, times: int) -> None:
    encoded = vocabulary(llama()).encode(prompt)
    bos = vocabulary(llama()).special_ids["<s>"]
    assert encoded[:times] == (bos,) * times
    assert bos not in encoded[times:]


@pytest.mark.parametrize("prompt", ["ab", "<s>ab", "<s><s>ab"])
def test_a_tokenizer_that_adds_no_bos_leaves_those_of_the_prompt(prompt: str) -> None:
    tokenizer = byte_level()
    bos = vocabulary(tokenizer).special_ids["<s>"]
    assert vocabulary(tokenizer).encode(prompt).count(bos) == prompt.count("<s>")


def test_kinds_of_tokens() -> None:
    tokens = llama().get_vocab()
    known = vocabulary(llama())
    kinds = {token: known.kind(tokens[token]) for token in ("<s>", "<0x0A>", "▁Hello", "<tool>")}
    assert kinds == {"<s>": Kind.SKIPPED, "<0x0A>": Kind.BYTE, "▁Hello": Kind.TEXT, "<tool>": Kind.TEXT}
    assert known.kind(max(tokens.values()) + 1) is Kind.SKIPPED


def test_without_byte_fallback_a_token_that_looks_like_a_byte_is_text() -> None:
    tokenizer = byte_level(added=("<0x0A>",))
    assert vocabulary(tokenizer).kind(tokenizer.get_vocab()["<0x0A>"]) is Kind.TEXT


def test_tokens_that_the_embedding_does_not_have_are_named(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([f"<extra-{i}>" for i in range(7)])
    short = vocabulary(tokenizer, rows=257)
    short.check(short.encode(f"a{END_OF_TEXT}"))
    with pytest.raises(TokenWithoutEmbedding, match=r"The prompt contains <extra-6>, a token for which"):
        short.check(short.encode("a<extra-6>b"))
    with caplog.at_level(logging.WARNING):
        short.warn_of_tokens_without_embedding()
    (record,) = caplog.records
    assert "7 tokens for which the model's embedding has no row (<extra-0>, <extra-1>" in record.message
    assert "and 3 more)" in record.message


def test_a_tokenizer_that_fits_its_model_is_not_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    vocabulary(byte_tokenizer()).warn_of_tokens_without_embedding()
    vocabulary(byte_tokenizer(), rows=300).warn_of_tokens_without_embedding()
    assert not caplog.records
