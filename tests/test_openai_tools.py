"""Tools in chats: calls fit their schemas, whole and streamed; what cannot be done is refused by name."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from jsonschema import Draft202012Validator

from inference.engine.engine import Engine
from tests.chat_templates import CALLS_TOOLS
from tests.models import byte_tokenizer
from tests.openai_api import TEMPLATE, USER, chunks, refused
from tests.openai_tools import FIND, serve

pytestmark = pytest.mark.django_db

TOOLS = [
    {"type": "function", "function": {"name": "find", "description": "Finds things.", "parameters": FIND}},
    {"type": "function", "function": {"name": "stop"}},
]
NAMED = {"type": "function", "function": {"name": "find"}}
CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "find", "arguments": '{"q": "a", "n": 1}'},
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "Nothing."}


def called_with(*changes: dict[str, Any]) -> dict[str, Any]:
    """A conversation in which the assistant has called, each time with these changes of the call."""
    calls = [{**CALL, **change} for change in changes]
    return {"messages": [*USER, {"role": "assistant", "content": None, "tool_calls": calls}, RESULT]}


@pytest.fixture
def call(client: Client, key: str, engine_with: Callable[..., Engine]) -> Callable[..., Any]:
    """Posts a chat to a model whose chat template knows no tools."""
    return serve(client, key, engine_with(TEMPLATE), path="chat/completions")


@pytest.fixture
def hermes(client: Client, key: str, engine_with: Callable[..., Engine]) -> Callable[..., Any]:
    """Posts a chat to a model whose chat template knows tools."""
    return serve(client, key, engine_with(CALLS_TOOLS), path="chat/completions")


def text_of_generation(call: Callable[..., Any], **body: Any) -> dict[str, Any]:
    response = call(messages=USER, tools=TOOLS, max_tokens=140, **body)
    assert response.status_code == 200, response.content
    choice: dict[str, Any] = response.json()["choices"][0]
    return choice


def arguments_of(tool_call: dict[str, Any]) -> Any:
    return json.loads(tool_call["function"]["arguments"])


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_fits_its_schema(call: Callable[..., Any], seed: int) -> None:
    choice = text_of_generation(call, tool_choice="required", parallel_tool_calls=False, seed=seed)
    assert choice["finish_reason"] == "tool_calls"
    [tool_call] = choice["message"]["tool_calls"]
    assert choice["message"]["content"] is None
    assert tool_call["type"] == "function"
    assert tool_call["id"].startswith("call_")
    if tool_call["function"]["name"] == "find":
        Draft202012Validator(FIND).validate(arguments_of(tool_call))
    else:
        assert (tool_call["function"]["name"], arguments_of(tool_call)) == ("stop", {})


def test_a_named_function_is_the_one_that_is_called(call: Callable[..., Any]) -> None:
    choice = text_of_generation(call, tool_choice=NAMED, seed=1)
    assert choice["finish_reason"] == "stop"
    [tool_call] = choice["message"]["tool_calls"]
    assert tool_call["function"]["name"] == "find"
    Draft202012Validator(FIND).validate(arguments_of(tool_call))


@pytest.mark.parametrize("how", [{"tool_choice": NAMED}, {"tool_choice": "required"}])
def test_a_stream_is_the_unstreamed_answer(call: Callable[..., Any], how: dict[str, Any]) -> None:
    whole = text_of_generation(call, seed=3, **how)
    streamed = chunks(call(messages=USER, tools=TOOLS, max_tokens=140, seed=3, stream=True, **how))
    parts = [choice for chunk in streamed for choice in chunk["choices"]]
    assert parts[-1]["finish_reason"] == whole["finish_reason"]
    calls: dict[int, dict[str, Any]] = {}
    for part in parts:
        for delta in part["delta"].get("tool_calls", ()):
            one = calls.setdefault(delta["index"], {"name": "", "arguments": ""})
            one["name"] += delta["function"].get("name", "")
            one["arguments"] += delta["function"]["arguments"]
    assert list(calls.values()) == [one["function"] for one in whole["message"]["tool_calls"]]


def test_a_call_that_is_cut_says_so(call: Callable[..., Any]) -> None:
    response = call(messages=USER, tools=TOOLS, tool_choice=NAMED, max_tokens=36)
    assert response.json()["choices"][0]["finish_reason"] == "length"


def test_with_none_the_model_answers_in_text(call: Callable[..., Any]) -> None:
    plain = call(messages=USER, max_tokens=8, seed=1).json()["choices"]
    body = {"messages": USER, "tools": TOOLS, "tool_choice": "none", "max_tokens": 8, "seed": 1}
    assert call(**body).json()["choices"] == plain


def test_results_of_tools_are_part_of_the_conversation(call: Callable[..., Any]) -> None:
    messages = [*USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]
    answer = call(messages=messages, max_tokens=1).json()
    written = '<user>Hi\n<assistant>{"name": "find", "arguments": {"q": "a", "n": 1}}\n'
    written += "<user>find returned: Nothing.\n<assistant>"
    assert answer["usage"]["prompt_tokens"] == len(written)


def test_what_the_client_has_parsed_comes_back_with_the_answer(call: Callable[..., Any]) -> None:
    """OpenAI's client sends the messages of its `parse` and `stream` so."""
    function = {**CALL["function"], "parsed_arguments": {"q": "a", "n": 1}}
    said = {"role": "assistant", "content": "{}", "parsed": {}}
    answered = {
        "role": "assistant",
        "tool_calls": [{**CALL, "index": 0, "function": function}],
        "parsed": None,
    }
    plain = {"role": "assistant", "tool_calls": [CALL]}
    tokens = [
        call(messages=[*USER, said, *USER, answer, RESULT], max_tokens=1).json()["usage"]["prompt_tokens"]
        for answer in (answered, plain)
    ]
    assert tokens[0] == tokens[1]


def test_an_integer_that_no_client_reads_is_named(call: Callable[..., Any]) -> None:
    function = {"name": "find", "arguments": f'{{"n": {"1" * 5000}}}'}
    error = refused(call(**called_with({"function": function})), 400)
    assert error["param"] == "messages[1].tool_calls[0].function.arguments"
    assert "too large" in error["message"]


def test_a_cut_answer_has_no_complete_call_that_does_not_fit(call: Callable[..., Any]) -> None:
    few: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 1, "maximum": 2}},
    }
    few |= {"required": ["a"], "additionalProperties": False, "if": True, "then": {"minProperties": 2}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": few}}]
    response = call(messages=USER, tools=tools, tool_choice="required", max_tokens=200, seed=1)
    assert refused(response, 400)["code"] == "no_fitting_text"


def test_without_a_template_for_tools_the_model_cannot_choose(call: Callable[..., Any]) -> None:
    for how in ({}, {"tool_choice": "auto"}):
        error = refused(call(messages=USER, tools=TOOLS, **how), 400)
        assert error["param"] == "tool_choice"
        assert "required" in error["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [*TOOLS, TOOLS[1]]}, "tools[2].function.name"),
        ({"tools": [{"type": "function", "function": {"name": "a", "x": 1}}]}, "tools[0].function.x"),
        (
            {"tools": [{"type": "function", "function": {"name": "a", "parameters": {"type": "array"}}}]},
            "tools[0].function.parameters",
        ),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parallel_tool_calls": True}, "parallel_tool_calls"),
        ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": ""}}}, "tool_choice"),
        ({"tools": TOOLS, "response_format": {"type": "json_object"}}, "tool_choice"),
        ({"messages": [*USER, RESULT]}, "messages[1].tool_call_id"),
        ({"messages": [*USER, {"role": "assistant", "tool_calls": [CALL]}]}, "messages[1]"),
        ({"messages": [*USER, {"role": "assistant", "tool_calls": [CALL]}, *USER]}, "messages[2].role"),
        ({"messages": [{"role": "user", "content": "a", "tool_calls": [CALL]}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "user", "content": "a", "parsed": {}}]}, "messages[0].parsed"),
        ({"tools": [{**TOOLS[0], "x": 1}]}, "tools[0].x"),
        (called_with({"x": 1}), "messages[1].tool_calls[0].x"),
        (called_with({"index": "0"}), "messages[1].tool_calls[0].index"),
        (called_with({"type": "custom"}), "messages[1].tool_calls[0].type"),
        (called_with({"function": {"name": "find"}}), "messages[1].tool_calls[0].function"),
        (called_with({"function": {**CALL["function"], "x": 1}}), "messages[1].tool_calls[0].function.x"),
        (called_with({}, {"id": "call_2"}, {}), "messages[1].tool_calls[2].id"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(
    call: Callable[..., Any], body: dict[str, Any], param: str
) -> None:
    error = refused(call(**{"messages": USER, **body}), 400)
    assert error["param"] == param


def test_a_schema_that_cannot_be_enforced_is_refused_before_a_stream_begins(call: Callable[..., Any]) -> None:
    hostile = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}
    tools = [{"type": "function", "function": {"name": "a", "parameters": hostile}}]
    error = refused(call(messages=USER, tools=tools, tool_choice="required", stream=True), 400)
    assert "look-ahead" in error["message"]
    assert "function.parameters.properties.a.pattern" in error["message"]


def test_a_model_that_knows_tools_may_answer_in_text_or_call(hermes: Callable[..., Any]) -> None:
    tools = [TOOLS[1]]
    choice = hermes(messages=USER, tools=tools, max_tokens=16, seed=1).json()["choices"][0]
    assert isinstance(choice["message"]["content"], str)
    assert "tool_calls" not in choice["message"]
    called = hermes(messages=USER, tools=tools, tool_choice="required", max_tokens=100, seed=1).json()
    assert called["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "stop"


FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "answer",
        "schema": {
            "type": "object",
            "properties": {"é": {"enum": ["<tool_call>", "ü"]}},
            "required": ["é"],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize(("first", "called"), [("<", True), ("{", False)])
def test_an_answer_either_calls_or_fits_the_format(
    hermes: Callable[..., Any], first: str, called: bool
) -> None:
    [likely] = byte_tokenizer()(first)["input_ids"]
    body = {"messages": USER, "tools": TOOLS, "parallel_tool_calls": False, "response_format": FORMAT}
    body |= {"max_tokens": 160, "seed": 1, "logit_bias": {str(likely): 100}}
    [choice] = hermes(**body).json()["choices"]
    message = choice["message"]
    assert bool(message.get("tool_calls")) == called
    if called:
        assert (message["content"], choice["finish_reason"]) == (None, "tool_calls")
    else:
        assert json.loads(message["content"])["é"] in {"<tool_call>", "ü"}
        assert choice["finish_reason"] == "stop"
    parts = [part for chunk in chunks(hermes(**body, stream=True)) for part in chunk["choices"]]
    assert "".join(part["delta"].get("content") or "" for part in parts) == (message["content"] or "")
    assert parts[-1]["finish_reason"] == choice["finish_reason"]


@pytest.mark.parametrize(("choice", "called"), [("required", True), (NAMED, True), ("none", False)])
def test_a_format_is_for_answers_that_call_nothing(
    hermes: Callable[..., Any], choice: Any, called: bool
) -> None:
    body = {"messages": USER, "tools": TOOLS, "response_format": FORMAT, "max_tokens": 140}
    message = hermes(**body, tool_choice=choice, parallel_tool_calls=False, seed=2).json()["choices"][0][
        "message"
    ]
    assert bool(message.get("tool_calls")) == called
    assert called or json.loads(message["content"])


def test_a_format_beside_tools_is_refused_by_its_own_place(hermes: Callable[..., Any]) -> None:
    hostile = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"pattern": "(?=a)b"}}}
    error = refused(hermes(messages=USER, tools=TOOLS, response_format=hostile, stream=True), 400)
    assert error["param"] == "response_format.json_schema.schema.pattern"


@pytest.mark.parametrize("choice", ["auto", "required", "none", NAMED])
def test_tokenize_has_the_tokens_that_a_chat_with_tools_counts(
    hermes: Callable[..., Any], client: Client, key: str, choice: Any
) -> None:
    messages = [*USER, {"role": "assistant", "content": None, "tool_calls": [CALL]}, RESULT]
    body = {"messages": messages, "tools": TOOLS, "tool_choice": choice}
    usage = hermes(**body, max_tokens=1).json()["usage"]
    headers = {"Authorization": f"Bearer {key}"}
    answer = client.post("/tokenize", json.dumps(body), "application/json", headers=headers)
    assert answer.json()["count"] == usage["prompt_tokens"]


def test_text_of_tools_is_not_escaped_in_the_prompt(call: Callable[..., Any]) -> None:
    function = {**CALL["function"], "arguments": json.dumps({"q": "é"})}
    messages = [
        *USER,
        {"role": "assistant", "content": None, "tool_calls": [{**CALL, "function": function}]},
        RESULT,
    ]
    written = '<user>Hi\n<assistant>{"name": "find", "arguments": {"q": "é"}}\n'
    written += "<user>find returned: Nothing.\n<assistant>"
    usage = call(messages=messages, max_tokens=1).json()["usage"]
    assert usage["prompt_tokens"] == len(written.encode())
