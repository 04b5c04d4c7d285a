"""Fields of OpenAI's API that have more than one JSON type."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.serializers import MAX_STOP_LENGTH, MAX_STOP_STRINGS
from inference.engine.request import Prompt
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA

NO_TEXT = "Must not contain NUL characters or surrogates."
MAX_PROMPTS = 128
MAX_BIASES = 1024
MAX_BIAS = 100.0


def are(kind: type, data: list[Any]) -> bool:
    """Whether all items are of one JSON type."""
    return all(isinstance(item, kind) and not isinstance(item, bool) for item in data)


def token_ids(data: list[Any]) -> tuple[int, ...] | None:
    """The numbers as token ids, where 5.0 is 5, as in JSON Schema; None if one is no whole number."""
    if not all(isinstance(n, int | float) and not isinstance(n, bool) and n % 1 == 0 for n in data):
        return None
    return tuple(map(int, data))


_TEXT = {**TEXT_SCHEMA, "minLength": 1}
_IDS = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
_STOP_STRING = {**_TEXT, "maxLength": MAX_STOP_LENGTH}


@extend_schema_field(
    {
        "oneOf": [
            _TEXT,
            {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_PROMPTS},
            _IDS,
            {"type": "array", "items": _IDS, "minItems": 1, "maxItems": MAX_PROMPTS},
        ]
    }
)
class PromptsField(serializers.Field[Any, Any, Any, Any]):
    """Text, a list of texts, token ids, or a list of lists of token ids; as a list of prompts."""

    default_error_messages = {
        "invalid": "Must be text, a list of texts, a list of token ids, or a list of lists of token ids.",
        "empty": "Must not be empty.",
        "many": "Must have at most {most} prompts.",
        "not_text": NO_TEXT,
    }

    def to_internal_value(self, data: Any) -> list[Prompt]:
        if isinstance(data, str):
            return self._checked([data])
        if not isinstance(data, list):
            self.fail("invalid")
        if data and (ids := token_ids(data)) is not None:
            return self._checked([ids])
        if len(data) > MAX_PROMPTS:
            self.fail("many", most=MAX_PROMPTS)
        if are(str, data):
            return self._checked(data)
        prompts: list[Prompt] = [
            ids for item in data if isinstance(item, list) and (ids := token_ids(item)) is not None
        ]
        return self._checked(prompts) if len(prompts) == len(data) else self.fail("invalid")

    def _checked(self, prompts: list[Prompt]) -> list[Prompt]:
        if not prompts or not all(prompts):
            self.fail("empty")
        if any(isinstance(prompt, str) and NOT_TEXT.search(prompt) for prompt in prompts):
            self.fail("not_text")
        return prompts


@extend_schema_field(
    {
        "oneOf": [
            _STOP_STRING,
            {"type": "array", "items": _STOP_STRING, "maxItems": MAX_STOP_STRINGS},
        ]
    }
)
class StopField(serializers.Field[Any, Any, Any, Any]):
    """A string or a list of strings; as a tuple."""

    default_error_messages = {
        "invalid": "Must be a string or a list of strings.",
        "many": "Must have at most {most} items.",
        "long": "Each string must have 1 to {most} characters.",
        "not_text": NO_TEXT,
    }

    def to_internal_value(self, data: Any) -> tuple[str, ...]:
        strings = [data] if isinstance(data, str) else data
        if not isinstance(strings, list):
            self.fail("invalid")
        if len(strings) > MAX_STOP_STRINGS:
            self.fail("many", most=MAX_STOP_STRINGS)
        if not are(str, strings):
            self.fail("invalid")
        if not all(0 < len(string) <= MAX_STOP_LENGTH for string in strings):
            self.fail("long", most=MAX_STOP_LENGTH)
        if any(map(NOT_TEXT.search, strings)):
            self.fail("not_text")
        return tuple(strings)


@extend_schema_field(
    {
        "type": "object",
        "propertyNames": {"pattern": "^[0-9]{1,9}$"},
        "additionalProperties": {"type": "number", "minimum": -MAX_BIAS, "maximum": MAX_BIAS},
        "maxProperties": MAX_BIASES,
    }
)
class LogitBiasField(serializers.Field[Any, Any, Any, Any]):
    """Token ids, as strings, and what is added to their logits; as pairs."""

    default_error_messages = {
        "invalid": "Must be an object of token ids and numbers from -100 to 100.",
        "many": "Must have at most {most} tokens.",
    }

    def to_internal_value(self, data: Any) -> tuple[tuple[int, float], ...]:
        if not isinstance(data, Mapping):
            self.fail("invalid")
        if len(data) > MAX_BIASES:
            self.fail("many", most=MAX_BIASES)
        return tuple(self._bias(name, value) for name, value in data.items())

    def _bias(self, name: str, value: Any) -> tuple[int, float]:
        if not name.isascii() or not name.isdecimal() or len(name) > 9:
            self.fail("invalid")
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not -MAX_BIAS <= value <= MAX_BIAS
        ):
            self.fail("invalid")
        return int(name), float(value)
