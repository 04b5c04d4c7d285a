"""JSON of any shape in a request: what is nested too deeply or has no JSON form is refused by its place."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.serializers import Serializer

from inference import runtime
from inference.api.json_value import MAX_NESTING, flaw_of
from inference.api.openai.chat import ChatRequestSerializer
from inference.api.openai.completions import CompletionRequestSerializer
from inference.api.openai.responses.request import ResponseRequestSerializer
from inference.api.openai.tokens import TokenizeRequestSerializer
from inference.engine.engine import Engine
from tests.chat_templates import CALLS_TOOLS
from tests.openai_api import PROMPT, USER, refused
from tests.problems import problem

pytestmark = pytest.mark.django_db

RESULT = {"role": "tool", "tool_call_id": "1", "content": ""}


@pytest.fixture
def post(client: Client, key: str, engine_with: Callable[..., Engine]) -> Callable[..., Any]:
    """Posts a body, in which `HERE` stands for a value, to a path, for a model that knows tools."""
    runtime.install(engine_with(CALLS_TOOLS))

    def send(path: str, body: dict[str, Any], value: str) -> Any:
        text = json.dumps({"model": runtime.backend().model_name, **body})
        as_text = json.dumps(json.dumps("HERE"))[1:-1]  # within a string
        text = text.replace(as_text, json.dumps(value)[1:-1]).replace('"HERE"', value)
        return client.post(path, text, "application/json", headers={"Authorization": f"Bearer {key}"})

    return send


def nested(depth: int) -> str:
    """An object of this many objects within each other."""
    return '{"type":"object","a":' * (depth - 1) + '{"type":"object"}' + "}" * (depth - 1)


def tool(**around: Any) -> dict[str, Any]:
    return {"type": "function", "name": "f", "parameters": "HERE", **around}


CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
ARGUMENTS = {"name": "f", "arguments": '"HERE"'}
PLACES: dict[str, tuple[str, dict[str, Any], str]] = {
    "tools": (
        CHAT,
        {"messages": USER, "tools": [{"type": "function", "function": {"name": "f", "parameters": "HERE"}}]},
        "tools[0].function.parameters",
    ),
    "arguments": (
        CHAT,
        {
            "messages": [
                *USER,
                {
                    "role": "assistant",
                    "tool_calls": [{"id": "1", "type": "function", "function": ARGUMENTS}],
                },
                RESULT,
            ],
        },
        "messages[1].tool_calls[0].function.arguments",
    ),
    "response_format": (
        CHAT,
        {
            "messages": USER,
            "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": "HERE"}},
        },
        "response_format.json_schema.schema",
    ),
    "structured_outputs": (
        CHAT,
        {"messages": USER, "structured_outputs": {"json": "HERE"}},
        "structured_outputs.json",
    ),
    "flat tools": (
        RESPONSES,
        {"input": "Hi", "tools": [tool()], "tool_choice": "none"},
        "tools[0].parameters",
    ),
    "text": (
        RESPONSES,
        {"input": "Hi", "text": {"format": {"type": "json_schema", "name": "a", "schema": "HERE"}}},
        "text.format.schema",
    ),
    "input": (
        RESPONSES,
        {
            "input": [
                *USER,
                {"type": "function_call", "call_id": "1", **ARGUMENTS},
                {"type": "function_call_output", "call_id": "1", "output": ""},
            ]
        },
        "input[1].arguments",
    ),
    "tokenize": (
        "/tokenize",
        {"messages": USER, "tools": [{"type": "function", "function": {"name": "f", "parameters": "HERE"}}]},
        "tools[0].function.parameters",
    ),
}
WRONG = {
    "deep": nested(MAX_NESTING + 1),
    "deeper": nested(700),
    "infinite": '{"type": "object", "a": -1e999}',
    "surrogate": '{"type": "object", "a": "\\ud800"}',
}


@pytest.mark.parametrize("place", PLACES)
def test_a_value_that_the_service_cannot_write_again_is_refused_by_its_place(
    post: Callable[..., Any], place: str
) -> None:
    path, body, param = PLACES[place]
    for kind, value in WRONG.items():
        assert refused(post(path, body, value), 400)["param"] == param, kind


@pytest.mark.parametrize("place", ["arguments", "input"])
def test_arguments_are_json(post: Callable[..., Any], place: str) -> None:
    path, body, param = PLACES[place]
    for value in ('{"a": NaN}', '{"a": Infinity}', '{"a": [-Infinity]}', "[" * 5000, "{"):
        assert refused(post(path, body, value), 400)["param"] == param


@pytest.mark.parametrize("place", ["tools", "arguments", "flat tools", "input", "tokenize"])
def test_the_deepest_value_is_answered(post: Callable[..., Any], place: str) -> None:
    path, body, _ = PLACES[place]
    limit = {} if path == "/tokenize" else {"max_output_tokens" if path == RESPONSES else "max_tokens": 1}
    response = post(path, {**body, **limit}, nested(MAX_NESTING).replace("object", "o", 0))
    assert response.status_code in {200, 400}
    if response.status_code == 400:
        # The tiny model has no room for it, or a schema may have fewer schemas within each other.
        assert "maximum context length" in response.content.decode() or place == "tools"


def test_generate_refuses_a_schema_that_is_too_deep(generate: Any) -> None:
    body = json.dumps({"prompt": PROMPT, "json_schema": "HERE"}).replace('"HERE"', nested(MAX_NESTING + 1))
    [error] = problem(generate(body), 422)["errors"]
    assert error["field"] == "json_schema"


def test_an_item_of_a_type_that_is_no_text_is_refused(post: Callable[..., Any]) -> None:
    error = refused(post(RESPONSES, {"input": [{"type": "HERE"}]}, "[" * 700 + "]" * 700), 400)
    assert error["param"] == "input[0]"


@pytest.mark.parametrize(
    ("path", "serializer", "body"),
    [
        (CHAT, ChatRequestSerializer, {"messages": USER}),
        (RESPONSES, ResponseRequestSerializer, {"input": "Hi"}),
        ("/v1/completions", CompletionRequestSerializer, {"prompt": PROMPT}),
        ("/tokenize", TokenizeRequestSerializer, {"prompt": PROMPT}),
    ],
)
def test_a_field_of_any_other_kind_refuses_a_deep_value_too(
    post: Callable[..., Any], path: str, serializer: type[Serializer[Any]], body: dict[str, Any]
) -> None:
    for name in serializer().fields:
        for value in (
            "[" * 800 + "]" * 800,
            '{"type":' * 800 + "1" + "}" * 800,
            '[{"type":' * 400 + "1" + "}]" * 400,
        ):
            error = refused(post(path, {**body, name: "HERE"}, value), 400)
            assert error["param"].partition(".")[0].partition("[")[0] in {name, "prompt"}


def test_flaws() -> None:
    assert flaw_of(json.loads(nested(MAX_NESTING))) is None
    assert flaw_of(json.loads("[" * MAX_NESTING + "]" * MAX_NESTING)) is None
    assert flaw_of(json.loads("[" * MAX_NESTING + "1" + "]" * MAX_NESTING)) is None
    assert flaw_of(json.loads("[" * (MAX_NESTING + 1) + "]" * (MAX_NESTING + 1))) is not None
    assert flaw_of({"a\0": 1}) is not None
    assert flaw_of([{"a": [float("nan")]}]) is not None
