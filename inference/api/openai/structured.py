"""`response_format`, and vLLM's `structured_outputs`: what a text must fit."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.grammar_fields import (
    ChoiceField,
    LarkField,
    RegexField,
    SchemaField,
    schema_grammar,
    the_grammar,
)
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
        "schema": {"type": ["object", "boolean"], "description": "A JSON Schema."},
        "strict": {"type": ["boolean", "null"], "description": "Not used: the schema is always enforced."},
    },
    "required": ["schema"],
    "additionalProperties": False,
}


@extend_schema_field(
    {
        "oneOf": [
            _format_schema("text", "json_object"),
            _format_schema("json_schema", json_schema=_NAMED_SCHEMA),
        ]
    }
)
class ResponseFormatField(serializers.Field[Any, Any, Any, Any]):
    """OpenAI's field; as a grammar, or False where it asks for none."""

    default_error_messages = {
        "invalid": "Must be an object with the type text, json_object or json_schema.",
        "unknown": "This service does not support the field “{name}” here.",
        "schema": "Must be an object with the field schema.",
        "strict": "Must be a boolean.",
    }

    def to_internal_value(self, data: Any) -> Grammar | bool:
        if not isinstance(data, Mapping):
            self.fail("invalid")
        kind = data.get("type")
        self._only(data, {"type", "json_schema"} if kind == "json_schema" else {"type"})
        match kind:
            case "text":
                return False
            case "json_object":
                return Grammar.of_objects(field=f"{self.field_name}.type")
            case "json_schema":
                return self._schema(data.get("json_schema"))
            case _:
                return self.fail("invalid")

    def _schema(self, data: Any) -> Grammar:
        if not isinstance(data, Mapping) or data.get("schema") is None:
            raise serializers.ValidationError({"json_schema": [self.error_messages["schema"]]})
        self._only(data, {"name", "description", "schema", "strict"})
        if not isinstance(data.get("strict"), bool | None):
            raise serializers.ValidationError({"json_schema": {"strict": [self.error_messages["strict"]]}})
        return schema_grammar(data["schema"], field=f"{self.field_name}.json_schema.schema")

    def _only(self, data: Mapping[str, Any], names: set[str]) -> None:
        for name in data.keys() - names:
            self.fail("unknown", name=name[:64])


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


def grammar_of(fields: Mapping[str, Any]) -> Grammar | None:
    """What the text of a request must fit, if anything.

    Raises:
        ValidationError: two fields say it.
    """
    outputs = fields["structured_outputs"]
    given = {
        "response_format": fields["response_format"] or None,
        "structured_outputs": outputs and outputs["grammar"],
    }
    return the_grammar(given, tuple(given))
