import pytest

from inference.engine.detokenizer import Detokenizer
from inference.engine.tokenizer import HuggingFaceTokenizer
from tests.models import byte_tokenizer

TEXT = "Grüße, 世界! 👩‍👩‍👧 the END of <stop> it"


def pieces(
    text: str, *, stop: tuple[str, ...] = (), prompt: str = "🎉 Hello"
) -> tuple[list[str], Detokenizer]:
    """The text of one byte a token, as a client would get it."""
    tokenizer = byte_tokenizer()
    detokenizer = Detokenizer(HuggingFaceTokenizer(tokenizer), tuple(tokenizer(prompt)["input_ids"]), stop)
    got = []
    for token_id in tokenizer(text)["input_ids"]:
        got.append(detokenizer.append(token_id))
        if detokenizer.stopped:
            break
    got.append(detokenizer.finish())
    return got, detokenizer


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
    tokenizer = byte_tokenizer()
    half = tokenizer("ü")["input_ids"][0]
    detokenizer = Detokenizer(HuggingFaceTokenizer(tokenizer), (), ())
    assert detokenizer.append(half) == ""
    assert detokenizer.append(tokenizer("a")["input_ids"][0]) == "\ufffda"
    assert detokenizer.append(half) == ""
    assert detokenizer.finish() == "\ufffd"
    assert detokenizer.text == "\ufffda\ufffd"


def test_special_tokens_have_no_text() -> None:
    tokenizer = byte_tokenizer()
    detokenizer = Detokenizer(HuggingFaceTokenizer(tokenizer), (tokenizer.eos_token_id,), ())
    assert detokenizer.append(tokenizer.eos_token_id) == ""
    assert detokenizer.append(tokenizer("a")["input_ids"][0]) == "a"
