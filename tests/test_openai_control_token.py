"""Calls that a control token begins, as Mistral's models write them, through OpenAI's API."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from jsonschema import Draft202012Validator

from inference import runtime
from inference.engine.engine import Engine
from inference.engine.tool_format import MISTRAL
from tests.openai_api import USER, chunks
from tests.openai_responses import answered, events
from tests.openai_tools import FIND, serve

pytestmark = pytest.mark.django_db

TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for message in messages %}"
    "{% if message.tool_calls %}[TOOL_CALLS]{{ message.tool_calls | tojson }}{% endif %}"
    "[INST]{{ message.content }}{% endfor %}"
)
END = 256
FUNCTION = {"name": "find", "parameters": FIND}
# The first token is the control token, or it never is.
CALLS, TEXT = {str(END): 100}, {str(END): -100}
FORMAT = {"type": "object", "properties": {"a": {"const": '[{"name": "'}}, "required": ["a"],
          "additionalProperties": False}  # fmt: skip


@pytest.fixture
def chat(client: Client, key: str, engine_with: Callable[..., Engine]) -> Callable[..., Any]:
    return serve(client, key, engine_with(TEMPLATE, MISTRAL.control), path="chat/completions")


@pytest.fixture
def respond(client: Client, key: str, engine_with: Callable[..., Engine]) -> Callable[..., Any]:
    return serve(client, key, engine_with(TEMPLATE, MISTRAL.control), path="responses")


@pytest.mark.parametrize("more", [{}, {"response_format": {"type": "json_object"}}])
def test_a_stop_string_does_not_cut_a_call_of_a_chat(chat: Callable[..., Any], more: dict[str, Any]) -> None:
    tool_format = runtime.backend().tool_format
    assert tool_format is not None
    assert tool_format.control_id == END
    body = {"messages": USER, "tools": [{"type": "function", "function": FUNCTION}], "stop": ["arg", "{"]}
    body |= {"logit_bias": CALLS, "parallel_tool_calls": False, "max_tokens": 140, "seed": 1, **more}
    [choice] = chat(**body).json()["choices"]
    [call] = choice["message"]["tool_calls"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    Draft202012Validator(FIND).validate(json.loads(call["function"]["arguments"]))
    deltas = [part["delta"] for chunk in chunks(chat(**body, stream=True)) for part in chunk["choices"]]
    pieces = [one["function"] for delta in deltas for one in delta.get("tool_calls", ())]
    assert "".join(piece["arguments"] for piece in pieces) == call["function"]["arguments"]


def test_a_text_is_no_call_without_the_token(chat: Callable[..., Any]) -> None:
    body = {"messages": USER, "tools": [{"type": "function", "function": FUNCTION}], "logit_bias": TEXT}
    body["response_format"] = {"type": "json_schema", "json_schema": {"name": "a", "schema": FORMAT}}
    for stream in (False, True):
        answer = chat(**body, max_tokens=140, seed=1, stream=stream)
        if stream:
            deltas = [part["delta"] for chunk in chunks(answer) for part in chunk["choices"]]
            content = "".join(delta.get("content") or "" for delta in deltas)
        else:
            content = answer.json()["choices"][0]["message"]["content"]
        assert json.loads(content) == {"a": '[{"name": "'}


def test_a_stop_string_does_not_cut_a_call_of_a_response(respond: Callable[..., Any]) -> None:
    body = {"input": "Hi", "tools": [{"type": "function", **FUNCTION}], "stop": ["arg", "{"], "seed": 1}
    body |= {"logit_bias": CALLS, "parallel_tool_calls": False, "max_output_tokens": 140}
    [item] = answered(respond(**body))["output"]
    assert (item["type"], item["status"]) == ("function_call", "completed")
    Draft202012Validator(FIND).validate(json.loads(item["arguments"]))
    streamed = events(respond(**body, stream=True))
    assert streamed[-1].data["response"]["output"][0]["arguments"] == item["arguments"]
