"""The input of a response: text, or items, as the messages of a conversation.

Items are messages, calls of tools and their results. A client passes an earlier answer back by putting the
items of its `output` into the next `input`.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.openai.fields import NO_TEXT
from inference.api.openai.messages import MAX_TEXT_PARTS
from inference.api.openai.refusal import refuse
from inference.api.openai.tool_messages import (
    ADDED_BY_CLIENT,
    MAX_ID_LENGTH,
    PARSED_ARGUMENTS,
    SAME_ID,
    Naming,
    call_id,
    check_order,
    function_call,
    with_names,
)
from inference.api.openai.tools import NAME
from llmservice.http.excerpt import excerpt
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA

MAX_ITEMS = 2048
ROLES = ("user", "assistant", "system", "developer")
STATUSES = ("in_progress", "completed", "incomplete")
# The fields of a part beside its type and its text.
PARTS: Mapping[str, tuple[str, ...]] = {
    "input_text": (),
    "output_text": ("annotations", "logprobs", "parsed"),
}

NAMING = Naming(kind_field="type", kind="function_call_output", id_field="call_id")

Message = dict[str, Any]
T = TypeVar("T")

_PART_SCHEMA = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["input_text"]}, "text": TEXT_SCHEMA},
            "required": ["type", "text"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {
                "type": {"type": "string", "enum": ["output_text"]},
                "text": TEXT_SCHEMA,
                "annotations": {"type": ["array", "null"], "maxItems": 0, "items": {}},
                "logprobs": {"type": ["array", "null"], "items": {}},
                "parsed": ADDED_BY_CLIENT,
            },
            "required": ["type", "text"],
            "additionalProperties": False,
        },
    ]
}
_TEXT_SCHEMA = {"oneOf": [TEXT_SCHEMA, {"type": "array", "maxItems": MAX_TEXT_PARTS, "items": _PART_SCHEMA}]}
_ID_SCHEMA = {**TEXT_SCHEMA, "minLength": 1, "maxLength": MAX_ID_LENGTH}


def _item_schema(kind: str, *, required: list[str], **properties: Any) -> dict[str, Any]:
    of_kind: dict[str, Any] = {"type": "string", "enum": [kind]}
    if "type" not in required:
        of_kind = {"type": ["string", "null"], "enum": [kind, None]}
    return {
        "type": "object",
        "properties": {
            "type": of_kind,
            "id": {"type": ["string", "null"]},
            "status": {"type": ["string", "null"], "enum": [*STATUSES, None]},
            **properties,
        },
        "required": required,
        # Clients send null for what they do not use.
        "additionalProperties": {"type": "null"},
    }


_ITEM_SCHEMA = {
    "anyOf": [
        _item_schema(
            "message",
            required=["role", "content"],
            role={"type": "string", "enum": list(ROLES)},
            content=_TEXT_SCHEMA,
        ),
        _item_schema(
            "function_call",
            required=["type", "call_id", "name", "arguments"],
            call_id=_ID_SCHEMA,
            name={"type": "string", "pattern": f"^{NAME.pattern}$"},
            arguments={"type": "string", "description": "A JSON object, as text."},
            parsed_arguments=ADDED_BY_CLIENT,
        ),
        _item_schema(
            "function_call_output",
            required=["type", "call_id", "output"],
            call_id=_ID_SCHEMA,
            output=_TEXT_SCHEMA,
        ),
    ]
}


@extend_schema_field(
    {
        "oneOf": [
            TEXT_SCHEMA,
            {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": _ITEM_SCHEMA},
        ]
    }
)
class InputField(serializers.Field[Any, Any, Any, Any]):
    """A user's text, or a list of items; as a tuple of messages with each content as one string."""

    default_error_messages = {
        "invalid": "Must be text or a list of items.",
        "empty": "Must not be empty.",
        "many": "Must have at most {most} items.",
        "not_text": NO_TEXT,
    }

    def to_internal_value(self, data: Any) -> tuple[Message, ...]:
        if isinstance(data, str):
            if NOT_TEXT.search(data):
                self.fail("not_text")
            return ({"role": "user", "content": data},)
        if not isinstance(data, list):
            self.fail("invalid")
        if not data:
            self.fail("empty")
        if len(data) > MAX_ITEMS:
            self.fail("many", most=MAX_ITEMS)
        return _conversation(_each(_item, data))


def _conversation(items: list[Message]) -> tuple[Message, ...]:
    """The messages of items: calls that follow each other, or a text of the assistant, are one message's."""
    messages: list[Message] = []
    places: list[int] = []
    for place, item in enumerate(items):
        last = messages[-1] if messages else None
        if "tool_calls" in item and last is not None and last["role"] == "assistant":
            if item["tool_calls"][0]["id"] in {call["id"] for call in last.get("tool_calls", ())}:
                refuse(place, "call_id", reason=SAME_ID)
            messages[-1] = {**last, "tool_calls": [*last.get("tool_calls", ()), *item["tool_calls"]]}
        else:
            messages.append(item)
            places.append(place)
    check_order(messages, naming=NAMING, places=places)
    return with_names(messages)


def _each(read: Callable[[Any], T], values: list[Any]) -> list[T]:
    """What `read` makes of each value; an error says which one it is about."""
    found = []
    for index, value in enumerate(values):
        try:
            found.append(read(value))
        except serializers.ValidationError as error:
            raise serializers.ValidationError({index: error.detail}) from None  # type: ignore[dict-item]
    return found


def _item(data: Any) -> Message:
    if not isinstance(data, Mapping):
        refuse(reason="Must be an object.")
    kind = data.get("type")
    read = ITEMS.get("message" if kind is None else kind) if isinstance(kind, str | None) else None
    if read is None:
        known = ", ".join(ITEMS)
        other = f", not “{excerpt(kind)}”" if isinstance(kind, str) else ""
        refuse(reason=f"This service supports items of the types {known} only{other}.")
    return read(data)


def _message(item: Mapping[str, Any]) -> Message:
    _check_fields(item, {"role", "content"})
    if (role := item.get("role")) not in ROLES:
        refuse("role", reason=f"Must be one of {', '.join(ROLES)}.")
    return {"role": role, "content": _text_of(item, "content")}


def _call(item: Mapping[str, Any]) -> Message:
    _check_fields(item, {"call_id", "name", "arguments", PARSED_ARGUMENTS})
    call = function_call(call_id(item.get("call_id"), "call_id"), item)
    return {"role": "assistant", "content": "", "tool_calls": [call]}


def _result(item: Mapping[str, Any]) -> Message:
    _check_fields(item, {"call_id", "output"})
    identity = call_id(item.get("call_id"), "call_id")
    return {"role": "tool", "content": _text_of(item, "output"), "tool_call_id": identity}


ITEMS: Mapping[str, Callable[[Mapping[str, Any]], Message]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _result,
}
"""What each type of item is for the model."""


def _check_fields(item: Mapping[str, Any], own: set[str]) -> None:
    _check_names(item, {"type", "id", "status", *own})
    if item.get("status") not in (None, *STATUSES):
        refuse("status", reason=f"Must be one of {', '.join(STATUSES)}.")
    if not isinstance(item.get("id"), str | None):
        refuse("id", reason="Must be a string.")


def _text_of(item: Mapping[str, Any], field: str) -> str:
    content = item.get(field)
    if not isinstance(content, str | list):
        refuse(field, reason="Must be text or a list of text parts.")
    if isinstance(content, list) and len(content) > MAX_TEXT_PARTS:
        refuse(field, reason=f"Must have at most {MAX_TEXT_PARTS} parts.")
    try:
        text = content if isinstance(content, str) else "".join(_each(_text, content))
    except serializers.ValidationError as error:
        raise serializers.ValidationError({field: error.detail}) from None
    if NOT_TEXT.search(text):
        refuse(field, reason=NO_TEXT)
    return text


def _text(part: Any) -> str:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if not isinstance(kind, str):
        refuse(reason="Must have the fields type and text, a string.")
    if kind not in PARTS:
        known = " and ".join(PARTS)
        refuse(reason=f"This service supports parts of the types {known} only, not “{excerpt(kind)}”.")
    _check_names(part, {"type", "text", *PARTS[kind]})
    if not isinstance(part.get("text"), str):
        refuse("text", reason="Must be a string.")
    if part.get("annotations") not in (None, []):
        refuse("annotations", reason="This service does not support annotations: send an empty list.")
    if not isinstance(part.get("logprobs"), list | None):
        refuse("logprobs", reason="Must be a list.")
    return str(part["text"])


def _check_names(data: Mapping[str, Any], known: set[str]) -> None:
    for name, value in data.items():
        if name not in known and value is not None:
            refuse(excerpt(name), reason="This service does not support this field.")
