"""Fields of a request for a response that no other endpoint has."""

import json
from collections.abc import Mapping
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.openai.fields import NO_TEXT
from llmservice.http.fields import NOT_TEXT

MAX_PAIRS = 16
MAX_KEY_LENGTH = 64
MAX_VALUE_LENGTH = 512


class OnlyField(serializers.Field[Any, Any, Any, Any]):
    """A field of which this service supports some values only, often the one that is OpenAI's default."""

    default_error_messages = {"invalid": "This service supports {values} only."}

    def __init__(self, *values: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.values = values

    def to_internal_value(self, data: Any) -> Any:
        # By type as well, because 0 is equal to False.
        if not any(type(data) is type(value) and data == value for value in self.values):
            self.fail("invalid", values=" and ".join(map(json.dumps, self.values)))
        return data


class OnlyFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Shows the supported values in the OpenAPI document."""

    target_class = OnlyField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Any:
        # In `oneOf`, because drf-spectacular would give every bare enumeration a name.
        return {"oneOf": [{"enum": list(self.target.values)}]}


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
