"""The messages of a chat."""

from collections.abc import Mapping
from typing import Any, NoReturn

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.openai.fields import NO_TEXT
from inference.engine.request import Chat
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA

MAX_MESSAGES = 2048
ROLES = ("system", "developer", "user", "assistant")
MAX_NAME_LENGTH = 64
NAMES = {"role", "content", "name"}

_TEXT_PARTS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": ["text"]}, "text": TEXT_SCHEMA},
        "required": ["type", "text"],
        "additionalProperties": False,
    },
}


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_MESSAGES,
        "items": {
            "type": "object",
            "properties": {
                "role": {"type": "string", "enum": list(ROLES)},
                "content": {"oneOf": [TEXT_SCHEMA, _TEXT_PARTS]},
                "name": {**TEXT_SCHEMA, "type": ["string", "null"], "maxLength": MAX_NAME_LENGTH},
            },
            "required": ["role", "content"],
            # Clients send null for what they do not use, such as `refusal`.
            "additionalProperties": {"type": "null"},
        },
    }
)
class MessagesField(serializers.Field[Any, Any, Any, Any]):
    """A list of messages whose contents are text; as a tuple with each content as one string."""

    default_error_messages = {
        "invalid": "Must be a list of messages.",
        "empty": "Must not be empty.",
        "many": "Must have at most {most} messages.",
    }

    def to_internal_value(self, data: Any) -> tuple[dict[str, str], ...]:
        if not isinstance(data, list):
            self.fail("invalid")
        if not data:
            self.fail("empty")
        if len(data) > MAX_MESSAGES:
            self.fail("many", most=MAX_MESSAGES)
        return tuple(_message(index, message) for index, message in enumerate(data))


def as_chat(messages: tuple[Mapping[str, object], ...]) -> Chat:
    """The conversation of these messages; if the last one is the assistant's, it is continued."""
    return Chat(messages, continue_final_message=messages[-1]["role"] == "assistant")


def _message(index: int, data: Any) -> dict[str, str]:
    if not isinstance(data, Mapping):
        _refuse({index: ["Must be an object."]})
    for name, value in data.items():
        if name not in NAMES and value is not None:
            _refuse({index: {name[:64]: ["This service does not support this field."]}})
    role = data.get("role")
    if role not in ROLES:
        _refuse({index: {"role": [f"Must be one of {', '.join(ROLES)}."]}})
    name = data.get("name")
    if isinstance(name, str) and NOT_TEXT.search(name):
        _refuse({index: {"name": [NO_TEXT]}})
    if name is not None and not (isinstance(name, str) and len(name) <= MAX_NAME_LENGTH):
        _refuse({index: {"name": [f"Must be a string of at most {MAX_NAME_LENGTH} characters."]}})
    message = {"role": role, "content": _content(index, data.get("content"))}
    return message if name is None else {**message, "name": name}


def _content(index: int, content: Any) -> str:
    if not isinstance(content, str | list):
        _refuse({index: {"content": ["Must be text or a list of text parts."]}})
    parts = [content] if isinstance(content, str) else [_text(index, *part) for part in enumerate(content)]
    text = "".join(parts)
    if NOT_TEXT.search(text):
        _refuse({index: {"content": [NO_TEXT]}})
    return text


def _text(index: int, number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    reason = "Must have the fields type and text, a string."
    if isinstance(kind, str) and kind != "text":
        reason = f"This service supports text parts only, not the type “{kind[:64]}”."
    if kind != "text" or set(part) != {"type", "text"} or not isinstance(part["text"], str):
        _refuse({index: {"content": {number: [reason]}}})
    return str(part["text"])


def _refuse(errors: dict[Any, Any]) -> NoReturn:
    raise serializers.ValidationError(errors)
