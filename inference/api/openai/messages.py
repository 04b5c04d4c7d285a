"""The messages of a chat."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.openai.fields import NO_TEXT
from inference.api.openai.refusal import refuse
from inference.api.openai.tool_messages import (
    ADDED_BY_CLIENT,
    MAX_ID_LENGTH,
    TOOL_CALLS_SCHEMA,
    call_id,
    check_order,
    tool_calls,
    with_names,
)
from inference.engine.request import Chat
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA

MAX_MESSAGES = 2048
MAX_TEXT_PARTS = 1024
ROLES = ("system", "developer", "user", "assistant", "tool")
MAX_NAME_LENGTH = 64
NAMES = {"role", "content", "name", "tool_calls", "tool_call_id", "parsed"}

_TEXT_PARTS = {
    "type": "array",
    "maxItems": MAX_TEXT_PARTS,
    "items": {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": ["text"]}, "text": TEXT_SCHEMA},
        "required": ["type", "text"],
        "additionalProperties": False,
    },
}


_CONTENT = {"oneOf": [TEXT_SCHEMA, _TEXT_PARTS]}


def _message_schema(*roles: str, required: tuple[str, ...], **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "role": {"type": "string", "enum": list(roles)},
            "content": _CONTENT,
            "name": {**TEXT_SCHEMA, "type": ["string", "null"], "maxLength": MAX_NAME_LENGTH},
            **fields,
        },
        "required": ["role", *required],
        # Clients send null for what they do not use, such as `refusal`.
        "additionalProperties": {"type": "null"},
    }


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_MESSAGES,
        "items": {
            "anyOf": [
                _message_schema("system", "developer", "user", required=("content",)),
                _message_schema("assistant", required=("content",), parsed=ADDED_BY_CLIENT),
                _message_schema(
                    "assistant",
                    required=("tool_calls",),
                    parsed=ADDED_BY_CLIENT,
                    content={"oneOf": [*_CONTENT["oneOf"], {"type": "null"}]},
                    tool_calls=TOOL_CALLS_SCHEMA,
                ),
                _message_schema(
                    "tool",
                    required=("content", "tool_call_id"),
                    tool_call_id={**TEXT_SCHEMA, "minLength": 1, "maxLength": MAX_ID_LENGTH},
                ),
            ]
        },
    }
)
class MessagesField(serializers.Field[Any, Any, Any, Any]):
    """A list of messages whose contents are text; as a tuple with each content as one string.

    The arguments of calls are objects, and results have the names of their tools.
    """

    default_error_messages = {
        "invalid": "Must be a list of messages.",
        "empty": "Must not be empty.",
        "many": "Must have at most {most} messages.",
    }

    def to_internal_value(self, data: Any) -> tuple[dict[str, Any], ...]:
        if not isinstance(data, list):
            self.fail("invalid")
        if not data:
            self.fail("empty")
        if len(data) > MAX_MESSAGES:
            self.fail("many", most=MAX_MESSAGES)
        messages = [_message(index, message) for index, message in enumerate(data)]
        check_order(messages)
        return with_names(messages)


def as_chat(messages: tuple[Mapping[str, object], ...]) -> Chat:
    """The conversation of these messages; if the last one is the assistant's, it is continued."""
    return Chat(messages, continue_final_message=messages[-1]["role"] == "assistant")


def _message(index: int, data: Any) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        refuse(index, reason="Must be an object.")
    for name, value in data.items():
        if name not in NAMES and value is not None:
            refuse(index, name[:64], reason="This service does not support this field.")
    role = data.get("role")
    if role not in ROLES:
        refuse(index, "role", reason=f"Must be one of {', '.join(ROLES)}.")
    name = data.get("name")
    if isinstance(name, str) and NOT_TEXT.search(name):
        refuse(index, "name", reason=NO_TEXT)
    if name is not None and not (isinstance(name, str) and len(name) <= MAX_NAME_LENGTH):
        refuse(index, "name", reason=f"Must be a string of at most {MAX_NAME_LENGTH} characters.")
    calls, call = data.get("tool_calls"), data.get("tool_call_id")
    if calls is not None and role != "assistant":
        refuse(index, "tool_calls", reason="Only the assistant calls tools.")
    # What OpenAI's client has parsed of an answer, it sends back with the answer.
    if data.get("parsed") is not None and role != "assistant":
        refuse(index, "parsed", reason="Only for the role assistant.")
    if call is not None and role != "tool":
        refuse(index, "tool_call_id", reason="Only for the role tool.")
    content = "" if calls and data.get("content") is None else _content(index, data.get("content"))
    message: dict[str, Any] = {"role": role, "content": content}
    if name is not None:
        message["name"] = name
    if calls is not None:
        message["tool_calls"] = tool_calls(calls, index, "tool_calls")
    if role == "tool":
        message["tool_call_id"] = call_id(call, index, "tool_call_id")
    return message


def _content(index: int, content: Any) -> str:
    if not isinstance(content, str | list):
        refuse(index, "content", reason="Must be text or a list of text parts.")
    if isinstance(content, list) and len(content) > MAX_TEXT_PARTS:
        refuse(index, "content", reason=f"Must have at most {MAX_TEXT_PARTS} parts.")
    parts = [content] if isinstance(content, str) else [_text(index, *part) for part in enumerate(content)]
    text = "".join(parts)
    if NOT_TEXT.search(text):
        refuse(index, "content", reason=NO_TEXT)
    return text


def _text(index: int, number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    reason = "Must have the fields type and text, a string."
    if isinstance(kind, str) and kind != "text":
        reason = f"This service supports text parts only, not the type “{kind[:64]}”."
    if kind != "text" or set(part) != {"type", "text"} or not isinstance(part["text"], str):
        refuse(index, "content", number, reason=reason)
    return str(part["text"])
