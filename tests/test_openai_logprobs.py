"""Log-probabilities of `/v1`: tokens that are no characters, offsets, and what an answer may have of them."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.api.openai.text_offsets import TextOffsets
from inference.engine.engine import Engine
from tests.models import END_OF_TEXT
from tests.openai_api import USER, chunks, refused

LISTS = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
SPECIAL = b"<end>"


def backend_of(tokens: list[bytes]) -> Any:
    """Knows `tokens`, whose ids are their indices."""
    return SimpleNamespace(is_special=lambda token_id: tokens[token_id] == SPECIAL)


def offsets(tokens: list[bytes], text: str = "") -> list[int]:
    of = TextOffsets(backend_of(tokens), text).of
    return [of(index, token) for index, token in enumerate(tokens)]


def test_a_token_that_ends_within_a_character_keeps_the_space_that_it_begins_with() -> None:
    assert offsets([b" \xc2", b"\x80"], " \x80") == [0, 1]


@given(st.data(), st.text(max_size=12), st.booleans())
def test_each_token_has_the_offset_of_the_character_in_which_it_begins(
    data: st.DataObject, text: str, known: bool
) -> None:
    encoded = text.encode(errors="ignore")
    text = encoded.decode()
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(encoded) - 1)))))
    tokens = [encoded[a:b] for a, b in zip([0, *cuts], [*cuts, len(encoded)], strict=True) if a < b]
    expected, begin = [], 0
    for token in tokens:
        character = begin
        while character and encoded[character] & 0xC0 == 0x80:
            character -= 1
        expected.append(len(encoded[:character].decode()))
        begin += len(token)
    assert offsets(tokens, text if known else "") == expected


@given(st.lists(st.binary(min_size=1, max_size=3), max_size=12))
def test_offsets_never_fall_and_stay_within_the_text_whatever_the_bytes_are(tokens: list[bytes]) -> None:
    found = offsets(tokens)
    assert found == sorted(found)
    assert all(offset <= len(b"".join(tokens).decode(errors="replace")) for offset in found)


def test_a_special_token_has_a_text_only_where_the_text_contains_it() -> None:
    tokens = [SPECIAL, b"a", SPECIAL, b"b"]
    assert offsets(tokens, "<end>a<end>b") == [0, 5, 6, 11]
    assert offsets(tokens, "ab") == [0, 0, 1, 1]
    assert offsets(tokens) == [0, 0, 1, 1]


def test_a_tokenizer_may_add_spaces_that_the_text_does_not_have() -> None:
    assert offsets([SPECIAL, b" Once", b" more"], "Once more") == [0, 0, 4]
    assert offsets([SPECIAL, b" ", b" ", b"a", SPECIAL, b" b"], " a<end>b") == [0, 0, 1, 1, 2, 7]


@pytest.mark.django_db
def test_a_character_of_several_tokens_in_a_prompt(call: Any) -> None:
    [choice] = call("completions", prompt="éa€", echo=True, max_tokens=0, logprobs=0).json()["choices"]
    logprobs = choice["logprobs"]
    assert logprobs["tokens"] == [
        "bytes:\\xc3", "bytes:\\xa9", "a", "bytes:\\xe2", "bytes:\\x82", "bytes:\\xac",
    ]  # fmt: skip
    assert logprobs["text_offset"] == [0, 0, 1, 2, 2, 2]


@pytest.mark.django_db
@pytest.mark.parametrize("prompt", ["é", f"a{END_OF_TEXT}b", [97, 195, 98, 256]])
@pytest.mark.parametrize("echo", [False, True])
def test_a_stream_has_the_same_lists_and_they_agree_with_the_text(call: Any, prompt: Any, echo: bool) -> None:
    body = {"prompt": prompt, "echo": echo, "logprobs": 1, "n": 3, "seed": 2, "max_tokens": 40}
    whole = call("completions", **body).json()["choices"]
    streamed = [
        choice for chunk in chunks(call("completions", **body, stream=True)) for choice in chunk["choices"]
    ]
    for choice in whole:
        parts = [part for part in streamed if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        for name in LISTS:
            joined = [item for part in parts if part["logprobs"] for item in part["logprobs"][name]]
            assert joined == choice["logprobs"][name]
        assert choice["logprobs"]["text_offset"] == sorted(choice["logprobs"]["text_offset"])
        for token, offset in zip(
            choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"], strict=True
        ):
            if not token.startswith("bytes:") and token != END_OF_TEXT:
                assert choice["text"].startswith(token, offset)


@pytest.mark.django_db
def test_a_prompt_is_scored_once_for_all_its_choices(
    call: Any, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[bool] = []
    submit = chat_engine.submit_all

    def counted(prepared: Any) -> Any:
        scored.extend(one.request.prompt_logprobs is not None for one in prepared)
        return submit(prepared)

    monkeypatch.setattr(chat_engine, "submit_all", counted)
    choices = call("completions", prompt=["ab", "cde"], echo=True, logprobs=1, n=3, max_tokens=2).json()[
        "choices"
    ]
    assert scored == [True, False, False, True, False, False]
    for group in (choices[:3], choices[3:]):
        prompts = [[choice["logprobs"][name][:2] for name in LISTS] for choice in group]
        assert prompts[0] == prompts[1] == prompts[2]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("completions", {"prompt": ["a" * 200] * 5, "n": 16, "echo": True, "logprobs": 20, "max_tokens": 1}),
        ("completions", {"prompt": ["a" * 200] * 5, "n": 16, "prompt_logprobs": 20}),
        ("chat/completions", {"messages": USER, "n": 16, "logprobs": True, "top_logprobs": 20}),
    ],
)
def test_an_answer_that_would_be_too_large_is_refused(
    call: Any, path: str, body: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference.api.openai.logprobs.MAX_LOGPROBS", 20_000)
    monkeypatch.setattr("inference.api.openai.completions.check_number", lambda texts: None)
    assert refused(call(path, **body), 400)["param"] == "logprobs"


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["token", "string"])
def test_the_log_probabilities_of_a_chat_are_those_of_its_content(call: Any, how: str) -> None:
    """The token that ends the text is no part of it, nor is a stop string."""
    body: dict[str, Any] = {"messages": USER, "temperature": 0, "logprobs": True, "return_token_ids": True}
    [free] = call("chat/completions", **body, max_tokens=12).json()["choices"]
    ids = free["token_ids"]
    end = next(i for i in range(3, 12) if ids[i] not in ids[:i] and ids[i] < 94)
    body |= {"stop_token_ids": [ids[end]]} if how == "token" else {"stop": chr(ids[end] + 33)}
    [choice] = call("chat/completions", **body, max_tokens=12).json()["choices"]
    content = choice["logprobs"]["content"]
    assert len(choice["token_ids"]) == end + 1
    assert len(content) == end
    assert (
        bytes(byte for token in content for byte in token["bytes"]).decode(errors="replace")
        == choice["message"]["content"]
    )
    parts = [
        part
        for chunk in chunks(call("chat/completions", **body, max_tokens=12, stream=True))
        for part in chunk["choices"]
    ]
    assert [token for part in parts if part["logprobs"] for token in part["logprobs"]["content"]] == content


@pytest.mark.django_db
@pytest.mark.parametrize("more", [{}, {"echo": True, "logprobs": 4}])
def test_the_log_probabilities_of_a_prompt_by_token_id(call: Any, more: Any) -> None:
    body = {"prompt": ["ab", "c"], "n": 2, "max_tokens": 1, "prompt_logprobs": 2, **more}
    choices = call("completions", **body).json()["choices"]
    echoed = call("completions", prompt="ab", echo=True, logprobs=2, max_tokens=1).json()["choices"][0][
        "logprobs"
    ]
    for choice in choices[:2]:
        first, second = choice["prompt_logprobs"]
        assert first is None
        token = second[str(ord("b") - 33)]
        assert (token["logprob"], token["decoded_token"]) == (echoed["token_logprobs"][1], "b")
        assert {one["decoded_token"]: one["logprob"] for one in second.values()} == echoed["top_logprobs"][1]
        assert sorted(one["rank"] for one in second.values() if one["rank"])[:2] == [1, 2]
        if more:
            assert len(choice["logprobs"]["top_logprobs"][1]) >= 4
        else:
            assert choice["logprobs"] is None
    assert [choice["prompt_logprobs"] for choice in choices[2:]] == [[None], [None]]
