"""Calls of tools as models write them, read in pieces of any size."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.chat_prompt import ChatPrompt
from inference.engine.tool_calls import Arguments, Call, Content, Part, ToolCallReader
from inference.engine.tool_format import (
    HERMES,
    LLAMA,
    MISTRAL,
    PLAIN,
    ToolFormat,
    tool_format_of,
    written_calls,
)
from tests.examples import examples
from tests.models import byte_tokenizer

SHOWN = replace(MISTRAL, control="", begin="[TOOL_CALLS][", trigger="[TOOL_CALLS]")
"""Mistral's, where the text shows the token."""
FORMATS = {"hermes": HERMES, "mistral": MISTRAL, "llama": LLAMA, "plain": PLAIN, "shown": SHOWN}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CALLS = st.lists(
    st.tuples(
        st.from_regex(r"[a-zA-Z0-9_-]{1,12}", fullmatch=True), st.dictionaries(st.text(max_size=5), JSON)
    ),
    min_size=1,
    max_size=3,
)


def read(reader: ToolCallReader, text: str, cuts: list[int]) -> list[Part]:
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    parts = [part for start, end in pairwise(bounds) for part in reader.feed(text[start:end])]
    return [*parts, *reader.finish()]


def content(parts: list[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Content))


def calls(parts: list[Part]) -> list[tuple[str, Any]]:
    return [
        (
            part.name,
            json.loads("".join(p.text for p in parts if isinstance(p, Arguments) and p.index == part.index)),
        )
        for part in parts
        if isinstance(part, Call)
    ]


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=examples(100))
@given(wanted=CALLS, cuts=st.lists(st.integers(0, 300), max_size=12))
def test_calls_are_read_as_they_were_written_however_the_text_is_cut(
    name: str, wanted: list[tuple[str, Any]], cuts: list[int]
) -> None:
    form: ToolFormat = FORMATS[name]
    wanted = wanted if form.separator else wanted[:1]
    text = "".join(written_calls(form, [(one, json.dumps(arguments)) for one, arguments in wanted]))
    reader = ToolCallReader(form, required=True)
    parts = read(reader, text, cuts)
    assert calls(parts) == wanted
    assert content(parts) == ""
    assert reader.calls == len(wanted)


@given(text=st.text(alphabet="ab<tol_cal>{\n", max_size=30), cuts=st.lists(st.integers(0, 30), max_size=8))
def test_text_without_a_call_comes_whole(text: str, cuts: list[int]) -> None:
    if HERMES.trigger not in text:
        assert content(read(ToolCallReader(HERMES, required=False), text, cuts)) == text
    if not text.startswith(LLAMA.trigger):
        assert content(read(ToolCallReader(LLAMA, required=False), text, cuts)) == text
    assert content(read(ToolCallReader(MISTRAL, required=False), text, cuts)) == text


@given(cuts=st.lists(st.integers(0, 120), max_size=8))
def test_text_before_a_call_is_content(cuts: list[int]) -> None:
    text = "Let me look.\n" + "".join(written_calls(HERMES, [("find", '{"q": "}{"}'), ("stop", "{}")]))
    parts = read(ToolCallReader(HERMES, required=False), text, cuts)
    assert content(parts) == "Let me look.\n"
    assert calls(parts) == [("find", {"q": "}{"}), ("stop", {})]


def test_the_control_token_begins_the_calls_of_an_answer_that_could_be_text() -> None:
    reader = ToolCallReader(MISTRAL, required=False)
    reader.begin_calls()
    assert calls(list(reader.feed('[{"name": "find", "arguments": {"a": 1}}]'))) == [("find", {"a": 1})]


def test_a_call_that_was_cut_is_as_long_as_it_came() -> None:
    parts = read(ToolCallReader(PLAIN, required=True), '{"name": "find", "arguments": {"a": "b', [])
    assert parts == [Call(0, "find"), Arguments(0, '{"a": "b')]


def test_a_control_token_that_is_not_special_is_text() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% if tools %}{% endif %}[TOOL_CALLS]"
    assert ChatPrompt(tokenizer).tool_format is None
    tokenizer.add_tokens([MISTRAL.control])
    assert ChatPrompt(tokenizer).tool_format == SHOWN
    text = "".join(written_calls(SHOWN, [("find", "{}")]))
    for start in ("", "Well, "):
        parts = read(ToolCallReader(SHOWN, required=False), start + text, [4, 9])
        assert calls(parts) == ([] if start else [("find", {})])
        assert content(parts) == (start + text if start else "")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% if tools %}...<tool_call>{% endif %}", HERMES),
        ("{% if tools %}[AVAILABLE_TOOLS]{% endif %}[TOOL_CALLS]", MISTRAL),
        ('{% if tools %}{"name": function name, "parameters": dictionary}{% endif %}', LLAMA),
        ("{% if tools %}<|channel|>{% endif %}", None),
        ("{{ messages }}", None),
        ("<tool_call>", None),
    ],
)
def test_the_template_tells_the_format(template: str, expected: ToolFormat | None) -> None:
    assert tool_format_of(template) is expected
