"""The fields of a request that say what its text must fit, each as a `Grammar`."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.json_value import flaw_of
from inference.engine.grammar.source import Grammar
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA

MAX_CHOICES = 1024
_ONE = "Only one of {names} is allowed."
_TEXT = {**TEXT_SCHEMA, "minLength": 1}


def full_name(field: Any) -> str:
    """A serializer's field as a client writes it, with the fields around it."""
    names: list[str] = []
    while field.field_name:
        names.append(field.field_name)
        field = field.parent
    return ".".join(reversed(names))


class _GrammarField(serializers.Field[Any, Any, Any, Any]):
    default_error_messages = {"not_text": "Must not contain NUL characters or surrogates."}

    def _text(self, data: Any) -> str:
        if not isinstance(data, str) or not data:
            self.fail("invalid")
        if NOT_TEXT.search(data):
            self.fail("not_text")
        return data


# No text fits the schema `false`.
JSON_SCHEMA = {"oneOf": [{"type": "object"}, {"type": "boolean", "const": True}]}


@extend_schema_field(JSON_SCHEMA)
class SchemaField(_GrammarField):
    """A JSON Schema."""

    default_error_messages = {"invalid": "Must be a JSON Schema: an object or a boolean."}

    def to_internal_value(self, data: Any) -> Grammar:
        return schema_grammar(data, field=full_name(self))


@extend_schema_field(_TEXT)
class RegexField(_GrammarField):
    """A regular expression that the whole text matches."""

    default_error_messages = {"invalid": "Must be a regular expression."}

    def to_internal_value(self, data: Any) -> Grammar:
        return Grammar("regex", self._text(data), full_name(self))


@extend_schema_field(_TEXT)
class LarkField(_GrammarField):
    """A grammar in Lark's syntax or GBNF."""

    default_error_messages = {"invalid": "Must be a grammar in Lark's syntax or GBNF."}

    def to_internal_value(self, data: Any) -> Grammar:
        return Grammar("grammar", self._text(data), full_name(self))


@extend_schema_field({"type": "array", "items": _TEXT, "minItems": 1, "maxItems": MAX_CHOICES})
class ChoiceField(_GrammarField):
    """A list of texts."""

    default_error_messages = {
        "invalid": "Must be a list of texts that are not empty.",
        "many": "Must have at most {most} texts.",
    }

    def to_internal_value(self, data: Any) -> Grammar:
        if not isinstance(data, list) or not data:
            self.fail("invalid")
        if len(data) > MAX_CHOICES:
            self.fail("many", most=MAX_CHOICES)
        return Grammar.of_choices([self._text(text) for text in data], field=full_name(self))


def schema_grammar(schema: Any, *, field: str) -> Grammar:
    """The grammar of a JSON Schema.

    Raises:
        ValidationError: it is neither an object nor a boolean, or has a value that JSON texts cannot have.
    """
    if not isinstance(schema, Mapping | bool):
        raise serializers.ValidationError("Must be a JSON Schema: an object or a boolean.")
    if (flaw := flaw_of(schema)) is not None:
        raise serializers.ValidationError(flaw)
    return Grammar.of_schema(schema, field=field)


def the_grammar(fields: Mapping[str, Any], names: tuple[str, ...]) -> Grammar | None:
    """The one grammar among the fields of these names; None if there is none.

    Raises:
        ValidationError: there are several.
    """
    given = [name for name in names if fields.get(name) is not None]
    if len(given) > 1:
        listed = ", ".join(f"`{name}`" for name in names)
        raise serializers.ValidationError({given[1]: _ONE.format(names=listed)})
    grammar: Grammar | None = fields[given[0]] if given else None
    return grammar
