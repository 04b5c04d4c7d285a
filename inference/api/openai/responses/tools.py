"""Tools of `/v1/responses`, whose fields stand beside the type."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field

from inference.api.openai.tools import (
    FUNCTION_FIELDS,
    MAX_TOOLS,
    Tool,
    ToolChoice,
    ToolChoiceField,
    ToolsField,
)


@extend_schema_field(
    {
        "type": "array",
        "maxItems": MAX_TOOLS,
        "items": {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["function"]}, **FUNCTION_FIELDS},
            "required": ["type", "name"],
            "additionalProperties": False,
        },
    }
)
class FlatToolsField(ToolsField):
    """A list of functions, which may be empty."""

    default_error_messages = {"shape": "Must have the type “function”."}

    function_path = ()
    allow_empty = True

    def function_of(self, tool: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: value for name, value in tool.items() if name != "type"}


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "enum": ["none", "auto", "required"]},
            {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "enum": ["function"]},
                    "name": {"type": "string"},
                },
                "required": ["type", "name"],
                "additionalProperties": False,
            },
        ]
    }
)
class FlatToolChoiceField(ToolChoiceField):
    """`none`, `auto`, `required` or one function."""

    default_error_messages = {
        "invalid": 'Must be "none", "auto", "required" or {{"type": "function", "name": …}}.'
    }

    def name_of(self, data: Any) -> str | None:
        match data:
            case {"type": "function", "name": str(name), **others} if not others:
                return name
        return None


def listed(tool: Tool) -> dict[str, Any]:
    """A tool as a response repeats it."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description or None,
        "parameters": dict(tool.parameters),
        "strict": tool.strict,
    }


def chosen(choice: ToolChoice) -> str | dict[str, str]:
    """A choice as a response repeats it."""
    return choice.mode if choice.name is None else {"type": "function", "name": choice.name}
