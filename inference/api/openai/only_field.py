"""A field that OpenAI's API has and this service supports in part."""

import json
from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers


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
