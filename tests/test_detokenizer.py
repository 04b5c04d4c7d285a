"""Pieces of text, token by token, against the decoding of all tokens at once."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from inference.engine.detokenizer import Detokenizer
from inference.engine.vocabulary import Kind, Vocabulary
from tests.examples import examples
from tests.models import END_OF_TEXT, byte_tokenizer
from tests.tokenizer_families import BYTES, FAMILIES

TEXT = "Grüße, 世界! 👩‍👩‍👧 the END of <stop> it"
UNKNOWN = "\ufffd"
BYTE_VOCABULARY = Vocabulary(byte_tokenizer(), rows=257)
BYTE_FALLBACK = ("llama", "gemma", "metaspace", "unigram with bytes")


@cache
def vocabulary_of(family: str) -> Vocabulary:
    tokenizer = FAMILIES[family]()
    return Vocabulary(tokenizer, rows=len(tokenizer))


@cache
def tokens_of(family: str) -> dict[str, int]:
    tokens: dict[str, int] = FAMILIES[family]().get_vocab()
    return tokens


def byte_ids(family: str, text: str) -> list[int]:
    return [tokens_of(family)[BYTES[byte]] for byte in text.encode()]


def pieces(
    text: str, *, stop: tuple[str, ...] = (), prompt: str = "🎉 Hello"
) -> tuple[list[str], Detokenizer]:
    """The text of one byte a token, as a client would get it."""
    return streamed(BYTE_VOCABULARY, BYTE_VOCABULARY.encode(prompt), BYTE_VOCABULARY.encode(text), stop)


def streamed(
    vocabulary: Vocabulary, prompt: tuple[int, ...], new: tuple[int, ...], stop: tuple[str, ...] = ()
) -> tuple[list[str], Detokenizer]:
    detokenizer = Detokenizer(vocabulary, prompt, stop)
    got = []
    for token_id in new:
        got.append(detokenizer.append(token_id))
        if detokenizer.stopped:
            break
    got.append(detokenizer.finish())
    return got, detokenizer


def added_text(vocabulary: Vocabulary, prompt: tuple[int, ...], new: tuple[int, ...]) -> str:
    """What the decoding of all tokens has beyond that of the prompt."""
    before, whole = vocabulary.decode(prompt), vocabulary.decode(prompt + new)
    if whole.startswith(before):
        return whole[len(before) :]
    # The new tokens change the end of the prompt's text: they complete a character that the prompt begins, or
    # they make a run of bytes invalid, each of which then becomes a U+FFFD.
    kept = [token_id for token_id in prompt if vocabulary.kind(token_id) is not Kind.SKIPPED]
    run = 0
    while run < len(kept) and vocabulary.kind(kept[-1 - run]) is Kind.BYTE:
        run += 1
    certain = vocabulary.decode(kept[: len(kept) - run]) if run else before.removesuffix(UNKNOWN)
    assert whole.startswith(certain)
    beyond = whole[len(certain) :]
    was_whole = run and UNKNOWN not in before[len(certain) :]
    return beyond.removeprefix(run * UNKNOWN) if was_whole else beyond


@st.composite
def token_sequences(draw: st.DrawFn, family: str) -> tuple[int, ...]:
    """Any tokens, and ids that no token has; whole characters in bytes are likely."""
    tokens = tokens_of(family)
    one = st.integers(0, max(tokens.values()) + 2).map(lambda token_id: [token_id])
    some = one
    if BYTES[0] in tokens:
        characters = st.sampled_from([" ", "é", "€", "😀"]).map(lambda text: byte_ids(family, text))
        invalid = st.sampled_from([*byte_ids(family, "é"), tokens["<0xFF>"]]).map(lambda token_id: [token_id])
        some = st.one_of(one, st.sampled_from(sorted(tokens.values())[-40:]).map(lambda i: [i]))
        some = st.one_of(some, some, characters, characters, invalid)
    return tuple(token_id for part in draw(st.lists(some, max_size=20)) for token_id in part)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=examples(50), deadline=None)
@given(data=st.data())
def test_the_pieces_are_the_text_of_a_full_decode(family: str, data: st.DataObject) -> None:
    vocabulary = vocabulary_of(family)
    prompt, new = data.draw(token_sequences(family)), data.draw(token_sequences(family))
    got, detokenizer = streamed(vocabulary, prompt, new)
    assert "".join(got) == detokenizer.text == added_text(vocabulary, prompt, new)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=examples(40), deadline=None)
@given(data=st.data())
def test_only_text_that_may_still_change_is_held_back(family: str, data: st.DataObject) -> None:
    vocabulary = vocabulary_of(family)
    prompt, new = data.draw(token_sequences(family)), data.draw(token_sequences(family))
    detokenizer = Detokenizer(vocabulary, prompt)
    for i, token_id in enumerate(new, 1):
        detokenizer.append(token_id)
        kinds = [kind for kind in map(vocabulary.kind, prompt + new[:i]) if kind is not Kind.SKIPPED]
        if kinds and kinds[-1] is Kind.TEXT:
            assert added_text(vocabulary, prompt, new[:i]) in {detokenizer.text, detokenizer.text + UNKNOWN}


@settings(max_examples=examples(50), deadline=None)
@given(data=st.data())
def test_the_pieces_are_the_text_of_a_full_decode_with_the_quick_start_models_tokenizer(
    quickstart_model: Path, data: st.DataObject
) -> None:
    vocabulary = _of_folder(quickstart_model)
    texts = st.text(max_size=20).map(vocabulary.encode)
    ids = st.lists(st.integers(0, 49_200), max_size=20).map(tuple)
    prompt, new = data.draw(st.one_of(texts, ids)), data.draw(st.one_of(texts, ids))
    got, _ = streamed(vocabulary, prompt, new)
    assert "".join(got) == added_text(vocabulary, prompt, new)


@cache
def _of_folder(folder: Path) -> Vocabulary:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return Vocabulary(tokenizer, rows=len(tokenizer))


def test_the_pieces_are_whole_characters_and_together_the_text() -> None:
    got, detokenizer = pieces(TEXT)
    assert "".join(got) == detokenizer.text == TEXT
    assert "\ufffd" not in "".join(got[:-1])


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        (("<stop>",), TEXT[: TEXT.index("<stop>")]),
        (("nowhere", "世界"), TEXT[: TEXT.index("世界")]),
        (("END", "the"), TEXT[: TEXT.index("the")]),
        (("👧",), TEXT[: TEXT.index("👧")]),
        (("it",), TEXT[: TEXT.index("it")]),
        (("G",), ""),
        (("it!", "nope"), TEXT),
    ],
)
def test_the_text_ends_before_the_first_stop_string(stop: tuple[str, ...], left: str) -> None:
    got, detokenizer = pieces(TEXT, stop=stop)
    assert "".join(got) == detokenizer.text == left
    assert detokenizer.stopped == (left != TEXT)


def test_no_piece_ever_shows_the_beginning_of_a_stop_string() -> None:
    got, _ = pieces("aab aac aad", stop=("aad",))
    assert "".join(got) == "aab aac "
    assert all(not piece.endswith("a") for piece in got)


def test_a_stop_string_in_the_prompt_does_not_count() -> None:
    got, detokenizer = pieces("llo", stop=("Hello", "lol"), prompt="He")
    assert "".join(got) == "llo"
    assert not detokenizer.stopped


def test_bytes_that_are_no_character_are_replaced() -> None:
    half, letter = BYTE_VOCABULARY.encode("ü")[0], BYTE_VOCABULARY.encode("a")[0]
    detokenizer = Detokenizer(BYTE_VOCABULARY, ())
    assert detokenizer.append(half) == ""
    assert detokenizer.append(letter) == "\ufffda"
    assert detokenizer.append(half) == ""
    assert detokenizer.finish() == "\ufffd"
    assert detokenizer.text == "\ufffda\ufffd"


def test_special_tokens_have_no_text() -> None:
    end = BYTE_VOCABULARY.special_ids[END_OF_TEXT]
    detokenizer = Detokenizer(BYTE_VOCABULARY, (end,))
    assert detokenizer.append(end) == ""
    assert detokenizer.append(BYTE_VOCABULARY.encode("a")[0]) == "a"


# --- Byte fallback


@pytest.mark.parametrize("family", BYTE_FALLBACK)
def test_emoji_in_bytes_come_whole_however_many_there_are(family: str) -> None:
    vocabulary, tokens = vocabulary_of(family), tokens_of(family)
    got, _ = streamed(vocabulary, (tokens["▁Hello"],), (*byte_ids(family, "😀" * 6), tokens["▁a"]))
    assert "".join(got) == "😀😀😀😀😀😀 a"


@pytest.mark.parametrize("family", BYTE_FALLBACK)
def test_a_stop_string_of_emoji_ends_the_text_with_its_last_byte(family: str) -> None:
    vocabulary, tokens = vocabulary_of(family), tokens_of(family)
    new = (tokens["▁a"], *byte_ids(family, "é😀😀"))
    got, detokenizer = streamed(vocabulary, (tokens["▁Hello"],), new, ("😀",))
    assert "".join(got) == detokenizer.text == " aé"
    assert len(got) - 1 == len(new) - 4


def test_the_space_after_a_prompt_of_special_tokens_and_one_word_is_kept() -> None:
    vocabulary, tokens = vocabulary_of("llama"), tokens_of("llama")
    prompt = (tokens["<s>"], tokens["▁Hello"], *[tokens["<|im_start|>"]] * 8)
    assert streamed(vocabulary, prompt, (tokens["▁world"],))[0] == [" world", ""]


# --- Stop strings that are tokens


def test_a_special_token_is_found_as_a_stop_string() -> None:
    vocabulary, tokens = vocabulary_of("llama"), tokens_of("llama")
    new = (tokens["▁a"], *byte_ids("llama", "é")[:1], tokens["<|im_start|>"], tokens["▁world"])
    got, detokenizer = streamed(vocabulary, (tokens["▁Hello"],), new, ("<|im_start|>",))
    assert "".join(got) == detokenizer.text == " a\ufffd"
    assert detokenizer.stopped


@pytest.mark.parametrize("stop", ["<tool>", "<|im_end|>"])
def test_other_tokens_are_found_by_their_text(stop: str) -> None:
    vocabulary = vocabulary_of("byte-level with added tokens")
    new = vocabulary.encode(f"ab{stop}a")
    got, detokenizer = streamed(vocabulary, (), new, (stop,))
    assert "".join(got) == "ab"
    assert detokenizer.stopped


def test_a_text_that_ends_inside_what_may_be_a_stop_string_is_whole() -> None:
    vocabulary, tokens = vocabulary_of("llama"), tokens_of("llama")
    new = (tokens["▁a"], tokens["ST"], *byte_ids("llama", "O"))
    got, detokenizer = streamed(vocabulary, (), new, ("STOP",))
    assert "".join(got) == "aSTO"
    assert not detokenizer.stopped


# --- Cost


@pytest.mark.parametrize("family", FAMILIES)
def test_a_token_costs_the_decoding_of_a_few(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vocabulary = vocabulary_of(family)
    texts = [token_id for token_id in tokens_of(family).values() if vocabulary.kind(token_id) is Kind.TEXT]
    decoded: list[int] = []
    honest = Vocabulary.decode

    def decode(self: Vocabulary, token_ids: Sequence[int]) -> str:
        decoded.append(len(token_ids))
        return honest(self, token_ids)

    monkeypatch.setattr(Vocabulary, "decode", decode)
    streamed(vocabulary, tuple(texts), tuple(texts * 5))
    assert max(decoded) <= 16
    assert sum(decoded) < 12 * 5 * len(texts)
