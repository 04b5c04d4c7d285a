"""Serializer fields that accept only the right JSON type.

Django REST framework also serves HTML forms, so its fields accept "5" for 5, 1 for true and 5 for "5". A JSON
API that does so hides the mistakes of its clients.
"""

import difflib
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from drf_spectacular.extensions import OpenApiSerializerExtension, OpenApiSerializerFieldExtension
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.settings import api_settings
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from llmservice.http.excerpt import excerpt

# A body can contain a hundred thousand unknown fields: an answer names this many, each cut to this length.
MAX_NAMED = 8
MAX_NAME_LENGTH = 64
# Strings that neither UTF-8 nor PostgreSQL can represent.
NOT_TEXT = re.compile("[\0\ud800-\udfff]")
# How the OpenAPI document describes a string without NUL; its patterns cannot name surrogates.
TEXT_SCHEMA = {"type": "string", "pattern": r"^[^\u0000]*$"}

BOUNDS = {"max_value": "Must be at most {max_value}.", "min_value": "Must be at least {min_value}."}


class StrictIntegerField(serializers.IntegerField):
    """A JSON number without a fraction: 50.0 is 50, as in JSON Schema; "50" and true are errors."""

    default_error_messages = {"invalid": "Must be a whole number.", **BOUNDS}

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float) or data % 1 != 0:
            self.fail("invalid")
        return int(data)


class StrictFloatField(serializers.FloatField):
    """A JSON number; `above` is a bound that it must exceed."""

    default_error_messages = {"invalid": "Must be a number.", "above": "Must be above {above}.", **BOUNDS}

    def __init__(self, *, above: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.above = above

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        try:
            value = float(data)
        except OverflowError:  # An integer too large for a float: the bounds reject it.
            value = math.inf if data > 0 else -math.inf
        if self.above is not None and value <= self.above:
            self.fail("above", above=self.above)
        return value


class StrictBooleanField(serializers.BooleanField):
    default_error_messages = {"invalid": "Must be true or false."}

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid")
        return data


class StrictCharField(serializers.CharField):
    """A string as it was sent, white space included."""

    default_error_messages = {
        "invalid": "Must be a string.",
        "blank": "Must not be empty.",
        "max_length": "Must have at most {max_length} characters.",
        "null_character": "Null characters are not allowed.",
        "surrogate": "Surrogate characters are not allowed.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)
        # They take a tenth of a second for a megabyte, and name each of 2,048 surrogates.
        slow = (ProhibitNullCharactersValidator, ProhibitSurrogateCharactersValidator)
        self.validators = [one for one in self.validators if not isinstance(one, slow)]

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        if (found := NOT_TEXT.search(data)) is not None:
            self.fail("null_character" if found[0] == "\0" else "surrogate")
        return data


class StrictListField(serializers.ListField):
    """A JSON array, whose length is checked before its items: there may be a hundred thousand."""

    default_error_messages = {
        "not_a_list": "Must be a list.",
        "max_length": "Must have at most {max_length} items.",
    }

    def run_child_validation(self, data: Any) -> list[Any]:
        if self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        return super().run_child_validation(data)


class StrictSerializer(serializers.Serializer[Any]):
    """A JSON object with these fields and no others; an error names unknown ones and suggests a known one.

    Ignoring a misspelt option would answer a different request than the one that was sent.
    """

    # Names that other services use for a field; for suggestions that similar spelling does not find.
    also_known_as: Mapping[str, str] = {}
    # Fields that others have: null stands for their absence, because clients send it.
    not_supported: Collection[str] = ()

    def run_validation(self, data: Any = empty) -> Any:
        if self.parent is not None and (data is empty or data is None):
            return super().run_validation(data)
        if not isinstance(data, Mapping):
            what = "The body must" if self.parent is None else "Must"
            raise serializers.ValidationError(
                {api_settings.NON_FIELD_ERRORS_KEY: [f"{what} be a JSON object, not {_kind(data)}."]}
            )
        try:
            value = super().run_validation(data)
        except serializers.ValidationError as error:
            raise serializers.ValidationError({**error.detail, **self._unknown(data)}) from None  # type: ignore[dict-item]
        if unknown := self._unknown(data):
            raise serializers.ValidationError(unknown)
        return value

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(
            {
                name: value
                for name, value in data.items()
                if value is not None or name not in self.not_supported
            }
        )

    def _unknown(self, data: Mapping[str, Any]) -> dict[str, str]:
        names = [
            name
            for name, value in data.items()
            if name not in self.fields and not (value is None and name in self.not_supported)
        ]
        named = [excerpt(name, MAX_NAME_LENGTH) for name in names[:MAX_NAMED]]
        errors = {name: self._hint(name) for name in named}
        if len(names) > MAX_NAMED:
            more = f"{len(names) - MAX_NAMED} more fields are unknown."
            errors[api_settings.NON_FIELD_ERRORS_KEY] = more
        return errors

    def _hint(self, name: str) -> str:
        if name in self.not_supported:
            return "This service does not support this field."
        close = difflib.get_close_matches(name.lower(), self.fields, n=1)
        meant = self.also_known_as.get(name) or (close[0] if close else None)
        return f"Unknown field; did you mean {meant}?" if meant else "Unknown field."


def _kind(data: Any) -> str:
    match data:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case _:
            return "a list"


class StrictSerializerSchema(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """States in the OpenAPI document that other fields are refused."""

    target_class = StrictSerializer
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Any:
        schema = auto_schema._map_serializer(self.target, direction, bypass_extensions=True)
        absent = {
            name: {"type": "null", "description": "Not supported; null stands for its absence."}
            for name in sorted(self.target.not_supported)
        }
        properties = {**schema.get("properties", {}), **absent}
        return {**schema, "properties": properties, "additionalProperties": False}


class StrictFloatFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Shows `above` in the OpenAPI document."""

    target_class = StrictFloatField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        schema = {"type": "number", "format": "double"}
        return schema if self.target.above is None else {**schema, "exclusiveMinimum": self.target.above}


class StrictCharFieldSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    """Shows in the OpenAPI document that a text has no NUL character, and whether it may be empty."""

    target_class = StrictCharField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return dict(TEXT_SCHEMA) if self.target.allow_blank else {**TEXT_SCHEMA, "minLength": 1}
