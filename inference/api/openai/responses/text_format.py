"""`text.format`: what the text of a response must fit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from drf_spectacular.utils import extend_schema_field

from inference.api.openai.fields import NO_TEXT
from inference.api.openai.refusal import refuse
from inference.api.openai.structured import FormatField
from inference.api.openai.tools import MAX_DESCRIPTION_LENGTH, NAME, NAME_RULE
from inference.engine.grammar.source import Grammar
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA


@dataclass(frozen=True, kw_only=True)
class TextFormat:
    """What a text must fit.

    Attributes:
        grammar: None for any text.
        as_sent: what the client has sent, which the response repeats.
    """

    grammar: Grammar | None
    as_sent: Mapping[str, Any]


@extend_schema_field(
    {
        "oneOf": [
            {
                "type": "object",
                "properties": {"type": {"type": "string", "enum": ["text", "json_object"]}},
                "required": ["type"],
                "additionalProperties": False,
            },
            {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "enum": ["json_schema"]},
                    "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
                    "description": {
                        **TEXT_SCHEMA,
                        "type": ["string", "null"],
                        "maxLength": MAX_DESCRIPTION_LENGTH,
                    },
                    "schema": {"type": "object"},
                    "strict": {"type": ["boolean", "null"]},
                },
                "required": ["type", "name", "schema"],
                "additionalProperties": False,
            },
        ]
    }
)
class TextFormatField(FormatField):
    """The field of `/v1/responses`, which has the schema beside the type; as a `TextFormat`."""

    default_error_messages = {"schema": "Must be an object: a JSON schema."}

    def to_internal_value(self, data: Any) -> TextFormat:
        grammar = self.grammar(data)
        as_sent = {name: value for name, value in data.items() if value is not None}
        return TextFormat(grammar=grammar, as_sent=as_sent)

    def described(self, data: Mapping[str, Any]) -> Mapping[str, Any]:
        name, description = data.get("name"), data.get("description")
        if not isinstance(name, str) or not NAME.fullmatch(name):
            refuse("name", reason=NAME_RULE)
        if not isinstance(description, str | None) or len(description or "") > MAX_DESCRIPTION_LENGTH:
            refuse(
                "description", reason=f"Must be a string of at most {MAX_DESCRIPTION_LENGTH:,} characters."
            )
        if not isinstance(data.get("schema"), Mapping):
            refuse("schema", reason=str(self.error_messages["schema"]))
        if NOT_TEXT.search(description or ""):
            refuse("description", reason=NO_TEXT)
        return {field: value for field, value in data.items() if field != "type"}
