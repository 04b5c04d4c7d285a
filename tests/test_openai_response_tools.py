"""Tools of `/v1/responses`: calls are items that fit their schemas, whole and streamed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from jsonschema import Draft202012Validator
from pytest_django import Settings

from inference import runtime
from inference.engine.engine import Engine
from tests.chat_templates import CALLS_TOOLS
from tests.models import byte_tokenizer
from tests.openai_api import TEMPLATE, USER, refused
from tests.openai_document import validator
from tests.openai_responses import answered, events
from tests.openai_tools import FIND, serve
from tests.openapi_document import check_answer, served

pytestmark = pytest.mark.django_db

TOOLS: list[dict[str, Any]] = [
    {"type": "function", "name": "find", "description": "Finds things.", "parameters": FIND, "strict": True},
    {"type": "function", "name": "stop"},
]
NAMED = {"type": "function", "name": "find"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "find", "arguments": '{"q": "a", "n": 1}'}
RESULT = {"type": "function_call_output", "call_id": "call_1", "output": "Nothing."}
HOSTILE = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}


@pytest.fixture
def call(client: Client, key: str, engine_with: Callable[..., Engine]) -> Callable[..., Any]:
    """Posts a request to a model whose chat template knows no tools."""
    return serve(client, key, engine_with(TEMPLATE), path="responses")


@pytest.fixture
def hermes(client: Client, key: str, engine_with: Callable[..., Engine]) -> Callable[..., Any]:
    """Posts a request to a model whose chat template knows tools."""
    return serve(client, key, engine_with(CALLS_TOOLS), path="responses")


def without_ids(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in item.items() if name not in ("id", "call_id")} for item in items]


def rebuilt(streamed: list[Any]) -> list[dict[str, Any]]:
    """The items that the events of a stream make, as a client builds them."""
    items: list[dict[str, Any]] = []
    for event in streamed:
        data = event.data
        validator("ResponseStreamEvent").validate(data)
        match event.name.removeprefix("response."):
            case "output_item.added":
                assert data["output_index"] == len(items)
                items.append(data["item"])
            case "content_part.added":
                items[data["output_index"]]["content"].append(data["part"])
            case "output_text.delta":
                part = items[data["output_index"]]["content"][data["content_index"]]
                part["text"] += data["delta"]
                part["logprobs"] += data["logprobs"]
            case "function_call_arguments.delta":
                items[data["output_index"]]["arguments"] += data["delta"]
            case "function_call_arguments.done":
                assert items[data["output_index"]]["arguments"] == data["arguments"]
            case "output_item.done":
                items[data["output_index"]]["status"] = data["item"]["status"]
                assert items[data["output_index"]] == data["item"]
        if "item_id" in data:
            assert items[data["output_index"]]["id"] == data["item_id"]
    return items


@pytest.mark.parametrize("seed", range(4))
def test_a_required_call_fits_its_schema(call: Callable[..., Any], seed: int) -> None:
    body = {"input": "Hi", "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}
    response = answered(call(**body, seed=seed, max_output_tokens=140))
    validator("Response").validate(response)
    [item] = response["output"]
    assert (item["type"], item["status"], response["status"]) == ("function_call", "completed", "completed")
    assert item["id"].startswith("fc_")
    assert item["call_id"].startswith("call_")
    schema: dict[str, Any] = FIND if item["name"] == "find" else {"enum": [{}]}
    Draft202012Validator(schema).validate(json.loads(item["arguments"]))
    assert response["tools"] == [
        TOOLS[0],
        {
            **TOOLS[1],
            "description": None,
            "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
            "strict": True,
        },
    ]
    assert (response["tool_choice"], response["parallel_tool_calls"]) == ("required", False)


@pytest.mark.parametrize("how", [NAMED, "required"])
@pytest.mark.parametrize("max_output_tokens", [140, 36, 5])
def test_a_stream_of_calls_is_the_unstreamed_answer(
    call: Callable[..., Any], how: Any, max_output_tokens: int
) -> None:
    body = {"input": "Hi", "tools": TOOLS, "tool_choice": how, "max_output_tokens": max_output_tokens}
    whole = answered(call(**body, seed=3))
    streamed = events(call(**body, seed=3, stream=True))
    items = rebuilt(streamed)
    assert streamed[-1].data["response"]["output"] == items
    assert streamed[-1].name == f"response.{whole['status']}"
    assert without_ids(items) == without_ids(whole["output"])
    assert whole["tool_choice"] == how
    if max_output_tokens < 140:
        assert whole["incomplete_details"] == {"reason": "max_output_tokens"}
        assert all(item["status"] == "incomplete" for item in items[-1:])


@pytest.mark.parametrize("stream", [False, True])
def test_calls_are_as_the_document_says(
    call: Callable[..., Any], client: Client, settings: Settings, stream: bool
) -> None:
    settings.LLM_MODEL = runtime.backend().model_name
    answer = call(input="Hi", tools=TOOLS, tool_choice=NAMED, max_output_tokens=99, stream=stream)
    check_answer(served(client), "/v1/responses", "post", answer)


def test_results_of_tools_are_part_of_the_conversation(call: Callable[..., Any]) -> None:
    said = {"type": "message", "role": "assistant", "content": "Well"}
    items = [*USER, said, {**CALL, "id": "fc_1", "status": "completed"}, RESULT]
    response = answered(call(input=items, max_output_tokens=1))
    written = '<user>Hi\n<assistant>Well\n{"name": "find", "arguments": {"q": "a", "n": 1}}\n'
    written += "<user>find returned: Nothing.\n<assistant>"
    assert response["usage"]["input_tokens"] == len(written)


def test_an_output_with_calls_goes_into_the_next_input(hermes: Callable[..., Any]) -> None:
    body = {"tools": TOOLS, "tool_choice": "required", "max_output_tokens": 300}
    first = answered(hermes(input=USER, **body, parallel_tool_calls=False, seed=1))
    results = [{**RESULT, "call_id": item["call_id"]} for item in first["output"]]
    second = hermes(input=[*USER, *first["output"], *results], tools=TOOLS, max_output_tokens=4)
    assert answered(second)["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_what_the_client_has_parsed_comes_back_with_the_answer(call: Callable[..., Any]) -> None:
    """OpenAI's client sends the items of its `parse` so, once they are written as JSON."""
    part = {"type": "output_text", "text": "{}", "annotations": [], "parsed": {}}
    said = {"type": "message", "role": "assistant", "content": [part]}
    parsed = {**CALL, "parsed_arguments": {"q": "a", "n": 1}}
    assert call(input=[*USER, said, *USER, parsed, RESULT], max_output_tokens=1).status_code == 200


def test_a_tool_without_a_type_is_told_what_it_lacks(call: Callable[..., Any]) -> None:
    error = refused(call(input="Hi", tools=[{"name": "a"}]), 400)
    assert (error["param"], "and function" in error["message"]) == ("tools[0]", False)


def test_calls_that_follow_each_other_are_one_message(call: Callable[..., Any]) -> None:
    twice = [CALL, {**CALL, "call_id": "call_2"}, {**RESULT, "call_id": "call_2"}, RESULT]
    assert call(input=[*USER, *twice], max_output_tokens=1).status_code == 200


def test_without_a_template_for_tools_the_model_cannot_choose(call: Callable[..., Any]) -> None:
    for how in ({}, {"tool_choice": "auto"}):
        error = refused(call(input="Hi", tools=TOOLS, **how), 400)
        assert (error["param"], "required" in error["message"]) == ("tool_choice", True)
    assert answered(call(input="Hi", tools=TOOLS, tool_choice="none", max_output_tokens=3))["tools"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        *(({"tools": [{"type": kind}]}, "tools[0].type") for kind in ("web_search", "file_search", "mcp")),
        ({"tools": [{"type": "custom", "name": "a"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {"name": "a"}}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"tools": [*TOOLS, TOOLS[1]]}, "tools[2].name"),
        ({"tools": [{"type": "function", "name": "a", "parameters": {}}]}, "tools[0].parameters"),
        ({"tools": TOOLS, "tool_choice": "always"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": "x"}}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "name": ""}}, "tool_choice"),
        ({"tool_choice": NAMED}, "tool_choice"),
        (
            {"tools": TOOLS, "text": {"format": {"type": "json_object"}}},
            "tool_choice",
        ),
        ({"input": [*USER, RESULT]}, "input[1].call_id"),
        ({"input": [*USER, CALL]}, "input[1]"),
        ({"input": [*USER, CALL, *USER]}, "input[2].type"),
        ({"input": [*USER, CALL, RESULT, RESULT]}, "input[3].call_id"),
        ({"input": [*USER, {**CALL, "name": "a b"}, RESULT]}, "input[1].name"),
        ({"input": [*USER, {**CALL, "arguments": "["}, RESULT]}, "input[1].arguments"),
        ({"input": [*USER, {**CALL, "call_id": ""}, RESULT]}, "input[1].call_id"),
        ({"input": [*USER, {**CALL, "namespace": "a"}, RESULT]}, "input[1].namespace"),
        ({"input": [*USER, CALL, {**RESULT, "output": 5}]}, "input[2].output"),
        ({"input": [*USER, CALL, {**CALL, "call_id": "call_2"}, CALL, RESULT]}, "input[3].call_id"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(
    call: Callable[..., Any], body: dict[str, Any], param: str
) -> None:
    error = refused(call(**{"input": "Hi", **body}), 400)
    assert error["param"] == param


def test_a_schema_that_cannot_be_enforced_is_refused_before_a_stream_begins(call: Callable[..., Any]) -> None:
    tools = [*TOOLS, {"type": "function", "name": "bad", "parameters": HOSTILE}]
    choice = {"type": "function", "name": "bad"}
    error = refused(call(input="Hi", tools=tools, tool_choice=choice, stream=True), 400)
    assert error["param"] == "tools[2].parameters.properties.a.pattern"
    assert "look-ahead" in error["message"]


@pytest.mark.parametrize(("first", "kind"), [("<", "function_call"), ("{", "message")])
def test_a_response_either_calls_or_fits_the_format(
    hermes: Callable[..., Any], first: str, kind: str
) -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["<tool_call>", "ü"]}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    text = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
    [likely] = byte_tokenizer()(first)["input_ids"]
    body = {"input": "Hi", "tools": TOOLS, "parallel_tool_calls": False, "text": text}
    body |= {"max_output_tokens": 160, "seed": 1, "logit_bias": {str(likely): 100}}
    [item] = answered(hermes(**body))["output"]
    assert (item["type"], item["status"]) == (kind, "completed")
    if kind == "message":
        assert json.loads(item["content"][0]["text"])["a"] in {"<tool_call>", "ü"}
    assert without_ids(rebuilt(events(hermes(**body, stream=True)))) == without_ids([item])


def test_too_many_log_probabilities_are_refused_by_their_field(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"include": ["message.output_text.logprobs"], "top_logprobs": 20, "max_output_tokens": 100}
    monkeypatch.setattr("inference.api.openai.logprobs.MAX_LOGPROBS", 2000)
    assert refused(call(input="Hi", **body), 400)["param"] == "top_logprobs"
