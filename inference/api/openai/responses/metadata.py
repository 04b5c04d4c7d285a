"""Pairs of strings that a client keeps with a response."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.openai.fields import NO_TEXT
from llmservice.http.fields import NOT_TEXT

MAX_PAIRS = 16
MAX_KEY_LENGTH = 64
MAX_VALUE_LENGTH = 512


@extend_schema_field(
    {
        "type": "object",
        "maxProperties": MAX_PAIRS,
        "additionalProperties": {"type": "string", "maxLength": MAX_VALUE_LENGTH},
    }
)
class MetadataField(serializers.Field[Any, Any, Any, Any]):
    """Pairs of strings that the client wants back with the answer."""

    default_error_messages = {
        "invalid": "Must be an object whose values are strings.",
        "many": "Must have at most {most} pairs.",
        "long": "A key must have at most {longest_key} characters, and a value at most {longest}.",
        "not_text": NO_TEXT,
    }

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, Mapping):
            self.fail("invalid")
        if len(data) > MAX_PAIRS:
            self.fail("many", most=MAX_PAIRS)
        for key, value in data.items():
            if not isinstance(value, str):
                self.fail("invalid")
            if len(key) > MAX_KEY_LENGTH or len(value) > MAX_VALUE_LENGTH:
                self.fail("long", longest_key=MAX_KEY_LENGTH, longest=MAX_VALUE_LENGTH)
            if NOT_TEXT.search(key) or NOT_TEXT.search(value):
                self.fail("not_text")
        return dict(data)
