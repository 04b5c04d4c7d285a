"""What is sent to engines of each kind, and how calls of tools come back."""

import dataclasses
import json
from typing import Any

import pytest

from inference.engine.errors import UpstreamRefused
from inference.engine.grammar.calls import Calls
from inference.engine.grammar.source import Grammar
from inference.engine.request import Chat, GenerationRequest, SamplingParams
from inference.engine.tool_calls import Arguments, Call, Content, ToolCallReader
from inference.engine.upstream.body import call_of
from inference.engine.upstream.dialect import DIALECTS, LLMSERVICE, OPENAI, VLLM, Dialect
from inference.engine.upstream.logprobs import of_chat, of_completion, token_bytes
from inference.engine.upstream.reader import AnswerReader
from inference.engine.upstream.tool_text import UPSTREAM_CALLS

TOOL = {"type": "function", "function": {"name": "paint", "parameters": {"type": "object"}}}
SCHEMA = Grammar.of_schema({"type": "object"}, field="json_schema")


def call(dialect: Dialect = VLLM, prompt: Any = "Hi", **fields: Any) -> tuple[str, dict[str, Any]]:
    sampling = fields.pop("sampling", SamplingParams(top_k=0))
    request = GenerationRequest(prompt=prompt, sampling=sampling, owner="9", **fields)
    sent = call_of(request, dialect, model="far", salt_key=b"key")
    return sent.path, sent.body


def calls(*, required: bool, text: Grammar | None = None) -> Grammar:
    return Calls(
        tool_format=UPSTREAM_CALLS,
        arguments={"paint": {}},
        paths=["[0]"],
        required=required,
        several=False,
        text=text,
    ).grammar(field="tools")


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=str)
@pytest.mark.parametrize("prompt", ["Hi", (1, 2), Chat(({"role": "user", "content": "Hi"},))])
def test_neutral_values_pass_everywhere_and_are_explicit_where_an_engine_has_the_field(
    dialect: Dialect, prompt: Any
) -> None:
    path, body = call(dialect, prompt)
    assert path == ("chat/completions" if isinstance(prompt, Chat) else "completions")
    assert body["stream"] is True
    for ours, theirs in dialect.fields.items():
        assert theirs in body, ours
    assert json.loads(json.dumps(body)) == body


OTHERS: dict[str, Any] = {
    "max_new_tokens": 7,
    "min_tokens": 3,
    "stop": ("x",),
    "stop_token_ids": (5,),
    "ignore_eos": True,
    "grammar": SCHEMA,
    "logprobs": 2,
    "prompt_logprobs": 2,
    "kept": False,
    "owner": "8",
    "do_sample": False,
    "temperature": 0.3,
    "top_k": 9,
    "top_p": 0.4,
    "min_p": 0.1,
    "repetition_penalty": 1.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "logit_bias": ((3, 1.0),),
    "seed": 11,
}
"""Another value of every field that an engine has to know of."""
OURS = {"prompt", "sampling", "token_ids", "streamed", "timeout_s"}
"""The prompt and token ids have tests of their own; the others are settled on this side."""
FIELDS = {one.name for one in [*dataclasses.fields(GenerationRequest), *dataclasses.fields(SamplingParams)]}


def test_every_field_of_a_request_is_passed_on_or_refused() -> None:
    assert OTHERS.keys() | OURS == FIELDS
    of_sampling = {one.name for one in dataclasses.fields(SamplingParams)}
    plain = call(VLLM)
    for name, value in OTHERS.items():
        if name == "owner":
            request = GenerationRequest(prompt="Hi", sampling=SamplingParams(top_k=0), owner=value)
            assert call_of(request, VLLM, model="far", salt_key=b"key").body != plain[1]
            continue
        given = (
            {"sampling": SamplingParams(**{"top_k": 0, name: value})}
            if name in of_sampling
            else {name: value}
        )
        try:
            changed = call(VLLM, **given)
        except UpstreamRefused as refused:
            changed = (refused.field or "", {})
        assert changed != plain, name


def test_greedy_is_temperature_zero_and_its_unused_fields_do_not_matter() -> None:
    _, body = call(OPENAI, sampling=SamplingParams(do_sample=False, top_k=50, temperature=0.7))
    assert body["temperature"] == 0


@pytest.mark.parametrize(
    ("dialect", "chat", "grammar", "field"),
    [
        ("vllm", False, SCHEMA, "structured_outputs"),
        ("llmservice", True, SCHEMA, "structured_outputs"),
        ("sglang", False, SCHEMA, "json_schema"),
        ("sglang", True, SCHEMA, "response_format"),
        ("llamacpp", False, SCHEMA, "json_schema"),
        ("openai", True, SCHEMA, "response_format"),
        ("sglang", False, Grammar("regex", "a", "regex"), "regex"),
        ("llamacpp", False, Grammar("grammar", "root ::= 'a'", "grammar"), "grammar"),
        ("openai", False, SCHEMA, None),
        ("llamacpp", True, Grammar("regex", "a", "regex"), None),
        ("sglang", True, Grammar.of_choices(["a"], field="choice"), None),
    ],
)
def test_a_grammar_takes_the_field_that_the_engine_has_or_is_refused(
    dialect: str, chat: bool, grammar: Grammar, field: str | None
) -> None:
    prompt = Chat(({"role": "user", "content": "Hi"},)) if chat else "Hi"
    if field is None:
        with pytest.raises(UpstreamRefused, match=grammar.field):
            call(DIALECTS[dialect], prompt, grammar=grammar)
    else:
        assert call(DIALECTS[dialect], prompt, grammar=grammar)[1][field]


def test_a_conversation_with_calls_is_sent_as_openais_api_has_it() -> None:
    called = {"id": "c1", "type": "function", "function": {"name": "paint", "arguments": {"colour": "red"}}}
    chat = Chat(
        (
            {"role": "user", "content": "Paint."},
            {"role": "assistant", "content": "", "tool_calls": [called]},
            {"role": "tool", "content": "done", "tool_call_id": "c1", "name": "paint"},
        ),
        tools=(TOOL,),
    )
    path, body = call(VLLM, chat, grammar=calls(required=False))

    assert path == "chat/completions"
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"colour": "red"}'
    assert "name" not in body["messages"][2]
    assert (body["tools"], body["tool_choice"], body["parallel_tool_calls"]) == ([TOOL], "auto", False)
    assert "structured_outputs" not in body
    assert call(VLLM, chat, grammar=calls(required=True))[1]["tool_choice"] == "required"
    both = call(VLLM, chat, grammar=calls(required=False, text=SCHEMA))[1]
    assert both["tools"]
    assert both["structured_outputs"] == {"json": {"type": "object"}}


def test_the_assistants_last_message_is_continued_as_the_engine_wants_it() -> None:
    chat = Chat(({"role": "assistant", "content": "A"},), continue_final_message=True)
    assert call(VLLM, chat)[1]["continue_final_message"] is True
    assert "continue_final_message" not in call(LLMSERVICE, chat)[1]


def delta(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def piece(index: int, arguments: str, name: str | None = None) -> dict[str, Any]:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    return {"index": index, "function": function}


@pytest.mark.parametrize("cut", [1, 3, 100])
def test_calls_come_back_as_they_were(cut: int) -> None:
    reader = AnswerReader(VLLM, chat=True)
    sent = [
        delta(role="assistant", content="I \ufdd0paint: {"),
        delta(tool_calls=[piece(0, '{"colour": ', "paint")]),
        delta(tool_calls=[piece(0, '"\\"}{red"}'), piece(1, "", "rest")]),
    ]
    text = "".join(event.text for one in sent if (event := reader.feed(one))) + reader.last_event().text

    found = ToolCallReader(UPSTREAM_CALLS, required=False)
    parts = [part for i in range(0, len(text), cut) for part in found.feed(text[i : i + cut])]
    parts += found.finish()

    assert "".join(part.text for part in parts if isinstance(part, Content)) == "I paint: {"
    assert [part.name for part in parts if isinstance(part, Call)] == ["paint", "rest"]
    for index, arguments in enumerate(['{"colour": "\\"}{red"}', "{}"]):
        pieces = [part.text for part in parts if isinstance(part, Arguments) and part.index == index]
        assert "".join(pieces) == arguments


def test_logprobs_of_both_kinds_are_read() -> None:
    [first] = of_chat(
        [
            {
                "token": "x",
                "bytes": [240, 159],
                "logprob": -1.5,
                "top_logprobs": [{"token": "y", "logprob": -0.5, "bytes": None}],
            }
        ]
    )
    assert (first.token, first.logprob, first.greedy) == (b"\xf0\x9f", -1.5, False)
    assert [(one.token, one.logprob) for one in first.top] == [(b"y", -0.5)]
    [only] = of_completion({"tokens": ["a"], "token_logprobs": [-0.5], "top_logprobs": [{"a": -0.5}]})
    assert (only.token, only.greedy) == (b"a", True)
    assert token_bytes("bytes:\\xf0\\x9f") == b"\xf0\x9f"
    assert token_bytes("bytes:\\zz") == b"bytes:\\zz"
