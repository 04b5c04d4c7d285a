"""`response_format`, and vLLM's `structured_outputs`: what a text must fit."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.grammar_fields import (
    JSON_SCHEMA,
    ChoiceField,
    LarkField,
    RegexField,
    SchemaField,
    full_name,
    schema_grammar,
    the_grammar,
)
from inference.api.openai.refusal import refuse
from inference.engine.grammar.source import Grammar
from llmservice.http.fields import StrictBooleanField, StrictSerializer

GUIDED = frozenset(
    {"guided_json", "guided_regex", "guided_choice", "guided_grammar", "guided_decoding_backend"}
    | {"guided_whitespace_pattern"}
)
"""vLLM's older fields, which it has dropped."""

_KINDS = ("json", "regex", "choice", "grammar", "json_object")


def _format_schema(*kinds: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"type": {"type": "string", "enum": list(kinds)}, **properties},
        "required": ["type", *properties],
        "additionalProperties": False,
    }


_NAMED_SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"description": "Not used."},
        "description": {"description": "Not used."},
        "schema": {**JSON_SCHEMA, "description": "A JSON Schema."},
        "strict": {"type": ["boolean", "null"], "description": "Not used: the schema is always enforced."},
    },
    "required": ["schema"],
    "additionalProperties": False,
}


class FormatField(serializers.Field[Any, Any, Any, Any]):
    """OpenAI's format of a text, of which the endpoints have different shapes."""

    default_error_messages = {
        "invalid": "Must be an object with the type text, json_object or json_schema.",
        "unknown": "This service does not support the field “{name}” here.",
        "schema": "Must be an object with the field schema.",
        "strict": "Must be a boolean.",
    }
    schema_path: tuple[str, ...] = ()
    """Where a format has its schema, and what belongs to it."""

    def grammar(self, data: Any) -> Grammar | None:
        """What the text must fit; None for any text.

        Raises:
            ValidationError: what is wrong with the format.
        """
        if not isinstance(data, Mapping):
            self.fail("invalid")
        kind = data.get("type")
        if kind == "json_schema":
            return self._schema(data)
        if kind not in ("text", "json_object"):
            self.fail("invalid")
        self.only(data, {"type"})
        return Grammar.of_objects(field=f"{full_name(self)}.type") if kind == "json_object" else None

    def _schema(self, data: Mapping[str, Any]) -> Grammar:
        described = self.described(data)
        if described is None or described.get("schema") is None:
            refuse(*self.schema_path, reason=str(self.error_messages["schema"]))
        self.only(described, {"name", "description", "schema", "strict"})
        if not isinstance(described.get("strict"), bool | None):
            refuse(*self.schema_path, "strict", reason=str(self.error_messages["strict"]))
        path = (*self.schema_path, "schema")
        try:
            return schema_grammar(described["schema"], field=".".join((full_name(self), *path)))
        except serializers.ValidationError as error:
            refuse(*path, reason=str(error.detail[0]))  # type: ignore[index]

    def described(self, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The schema of the format, and what belongs to it; None if it has another shape."""
        raise NotImplementedError

    def only(self, data: Mapping[str, Any], names: set[str]) -> None:
        """Refuse other fields than these."""
        for name in data:
            if name not in names:
                self.fail("unknown", name=name[:64])


@extend_schema_field(
    {
        "oneOf": [
            _format_schema("text", "json_object"),
            _format_schema("json_schema", json_schema=_NAMED_SCHEMA),
        ]
    }
)
class ResponseFormatField(FormatField):
    """`response_format`, as a grammar; None where it asks for none."""

    schema_path = ("json_schema",)

    def to_internal_value(self, data: Any) -> Grammar | None:
        return self.grammar(data)

    def described(self, data: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The schema of the format, and what belongs to it; None if it has another shape."""
        self.only(data, {"type", "json_schema"})
        described = data.get("json_schema")
        return described if isinstance(described, Mapping) else None


class StructuredOutputsSerializer(StrictSerializer):
    """One of these says what the text must fit."""

    json = SchemaField(default=None, allow_null=True, help_text="A JSON Schema.")
    regex = RegexField(default=None, allow_null=True, help_text="A regular expression.")
    choice = ChoiceField(default=None, allow_null=True, help_text="A list of texts.")
    grammar = LarkField(default=None, allow_null=True, help_text="A grammar in Lark's syntax or GBNF.")
    json_object = StrictBooleanField(default=None, allow_null=True, help_text="Any JSON object.")

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        objects = Grammar.of_objects(field="structured_outputs.json_object")
        given = {**fields, "json_object": objects if fields["json_object"] else None}
        grammar = the_grammar(given, _KINDS)
        if grammar is None:
            raise serializers.ValidationError(f"Must have one of the fields {', '.join(_KINDS)}.")
        return {"grammar": grammar}
