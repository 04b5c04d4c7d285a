"""The fields of a request that say which tools the model may call."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from inference.api.json_value import flaw_of
from inference.api.openai.fields import NO_TEXT
from inference.api.openai.refusal import refuse
from llmservice.http.fields import NOT_TEXT, TEXT_SCHEMA

MAX_TOOLS = 128
MAX_DESCRIPTION_LENGTH = 32_768
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
NAME_RULE = "Must have 1 to 64 letters, digits, underscores or hyphens."
NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}, "additionalProperties": False}


@dataclass(frozen=True)
class Tool:
    """A function that the model may call.

    Attributes:
        parameters: the JSON schema of its arguments.
        path: where that schema stands within the field `tools`.
        strict: as the client sent it; the arguments fit the schema in any case.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    path: str
    strict: bool = True

    def as_sent(self) -> dict[str, Any]:
        """As OpenAI's API and chat templates define it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class ToolChoice:
    """Whether the model has to call a tool.

    Attributes:
        name: the tool that it has to call, if `mode` is "required" and only one may be called.
    """

    mode: Literal["none", "auto", "required"]
    name: str | None = None


FUNCTION_FIELDS: Mapping[str, Any] = {
    "name": {"type": "string", "pattern": f"^{NAME.pattern}$"},
    "description": {**TEXT_SCHEMA, "type": ["string", "null"], "maxLength": MAX_DESCRIPTION_LENGTH},
    "parameters": {
        "type": ["object", "null"],
        "properties": {"type": {"const": "object"}},
        "required": ["type"],
        "description": "A JSON Schema of an object.",
    },
    "strict": {"type": ["boolean", "null"]},
}
_FUNCTION = {
    "type": "object",
    "properties": dict(FUNCTION_FIELDS),
    "required": ["name"],
    "additionalProperties": False,
}


@extend_schema_field(
    {
        "type": "array",
        "minItems": 1,
        "maxItems": MAX_TOOLS,
        "items": {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["function"]}, "function": _FUNCTION},
            "required": ["type", "function"],
            "additionalProperties": False,
        },
    }
)
class ToolsField(serializers.Field[Any, Any, Any, Any]):
    """A list of functions with names of their own; as a tuple of `Tool`."""

    default_error_messages = {
        "invalid": "Must be a list of tools.",
        "empty": "Must not be empty.",
        "many": "Must have at most {most} tools.",
        "shape": "Must have the fields type, “function”, and function, an object.",
    }
    function_path: tuple[str, ...] = ("function",)
    allow_empty = False

    def to_internal_value(self, data: Any) -> tuple[Tool, ...]:
        if not isinstance(data, list):
            self.fail("invalid")
        if not data and not self.allow_empty:
            self.fail("empty")
        if len(data) > MAX_TOOLS:
            self.fail("many", most=MAX_TOOLS)
        tools = tuple(self._tool(index, tool) for index, tool in enumerate(data))
        seen: set[str] = set()
        for index, tool in enumerate(tools):
            if tool.name in seen:
                reason = f"Another tool has the name “{tool.name}” as well."
                refuse(index, *self.function_path, "name", reason=reason)
            seen.add(tool.name)
        return tools

    def _tool(self, index: int, data: Any) -> Tool:
        if not isinstance(data, Mapping):
            refuse(index, reason="Must be an object.")
        kind = data.get("type")
        if isinstance(kind, str) and kind != "function":
            reason = f"This service supports tools of the type function only, not “{kind[:64]}”."
            refuse(index, "type", reason=reason)
        if self.function_path:
            for name in data:
                if name not in ("type", *self.function_path):
                    refuse(index, name[:64], reason="Unknown field.")
        function = self.function_of(data) if kind == "function" else None
        if function is None:
            refuse(index, reason=str(self.error_messages["shape"]))
        return _function(function, index, *self.function_path)

    def function_of(self, tool: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The fields of the function at `function_path` in the tool; None if it has another shape."""
        function = tool.get("function")
        return function if set(tool) == {"type", "function"} and isinstance(function, Mapping) else None


@extend_schema_field(
    {
        "oneOf": [
            {"type": "string", "enum": ["none", "auto", "required"]},
            {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "enum": ["function"]},
                    "function": {
                        "type": "object",
                        "properties": {"name": {"type": "string"}},
                        "required": ["name"],
                        "additionalProperties": False,
                    },
                },
                "required": ["type", "function"],
                "additionalProperties": False,
            },
        ]
    }
)
class ToolChoiceField(serializers.Field[Any, Any, Any, Any]):
    """`none`, `auto`, `required` or one function; as a `ToolChoice`."""

    default_error_messages = {
        "invalid": 'Must be "none", "auto", "required" or {{"type": "function", "function": {{"name": …}}}}.',
        "kind": "This service supports choices of the type function only, not “{kind}”.",
    }

    def to_internal_value(self, data: Any) -> ToolChoice:
        match data:
            case "none" | "auto" | "required":
                return ToolChoice(data)
            case {"type": str(kind)} if kind != "function":
                self.fail("kind", kind=kind[:64])
        name = self.name_of(data)
        return self.fail("invalid") if name is None else ToolChoice("required", name)

    def name_of(self, data: Any) -> str | None:
        """The name in the choice of one function; None if it has another shape."""
        match data:
            case {"type": "function", "function": {"name": str(name), **others}, **more} if not others | more:
                return name
        return None


def _function(function: Mapping[str, Any], *path: str | int) -> Tool:
    for field in function:
        if field not in FUNCTION_FIELDS:
            refuse(*path, field[:64], reason="Unknown field.")
    name, strict = function.get("name"), function.get("strict")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        refuse(*path, "name", reason=NAME_RULE)
    if not isinstance(strict, bool | None):
        refuse(*path, "strict", reason="Must be true or false.")
    index, *inner = path
    return Tool(
        name=name,
        description=_description(function, *path),
        parameters=_parameters(function, *path),
        path=".".join([f"[{index}]", *map(str, inner), "parameters"]),
        strict=strict is not False,
    )


def _description(function: Mapping[str, Any], *path: str | int) -> str:
    description = function.get("description")
    if description is None:
        return ""
    if not isinstance(description, str) or len(description) > MAX_DESCRIPTION_LENGTH:
        reason = f"Must be a string of at most {MAX_DESCRIPTION_LENGTH:,} characters."
        refuse(*path, "description", reason=reason)
    if NOT_TEXT.search(description):
        refuse(*path, "description", reason=NO_TEXT)
    return description


def _parameters(function: Mapping[str, Any], *path: str | int) -> Mapping[str, Any]:
    parameters = function.get("parameters")
    if parameters is None:
        return NO_PARAMETERS
    if not isinstance(parameters, Mapping) or parameters.get("type") != "object":
        refuse(*path, "parameters", reason='Must be a JSON schema of an object, with "type": "object".')
    if (flaw := flaw_of(parameters)) is not None:
        refuse(*path, "parameters", reason=flaw)
    return parameters
