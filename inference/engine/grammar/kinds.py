"""The kinds of JSON values, and which of them a JSON Schema takes whole."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inference.engine.grammar.checked_schema import CheckedSchema

KINDS = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
"""A fraction is a number that the type “integer” does not take."""

_NUMBERS = frozenset({"integer", "fraction"})
_OF_TYPES = {"number": _NUMBERS}
_RESTRICTED = {
    "null": frozenset({"const", "enum"}),
    "boolean": frozenset({"const", "enum"}),
    "string": frozenset({"const", "enum", "minLength", "maxLength", "pattern", "format"}),
    "array": frozenset(
        {"const", "enum", "minItems", "maxItems", "uniqueItems", "prefixItems", "items", "additionalItems"}
        | {"contains", "unevaluatedItems"}
    ),
    "object": frozenset(
        {"const", "enum", "required", "minProperties", "maxProperties", "properties", "patternProperties"}
        | {"additionalProperties", "propertyNames", "unevaluatedProperties"}
        | {"dependencies", "dependentRequired", "dependentSchemas"}
    ),
}
_RESTRICTED |= dict.fromkeys(
    _NUMBERS,
    frozenset({"const", "enum", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
)
_COMBINED = frozenset({"$ref", "allOf", "anyOf", "oneOf", "if", "not"})


def of_types(types: str | list[str]) -> frozenset[str]:
    """The kinds of the values of the keyword `type`."""
    named = [types] if isinstance(types, str) else types
    return frozenset[str]().union(*(_OF_TYPES.get(name, {name}) for name in named)) & KINDS


def types_of(kinds: frozenset[str]) -> list[str] | None:
    """The values of the keyword `type` that have these kinds, and perhaps some more; None for all values."""
    if kinds >= KINDS:
        return None
    types = kinds - _NUMBERS if "fraction" in kinds else kinds
    return sorted(types | {"number"} if "fraction" in kinds else types)


def kind_of(value: Any, *, draft: int) -> str:
    """The kind of a value, by the draft that says what an integer is."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case str():
            return "string"
        case list():
            return "array"
        case dict():
            return "object"
        case float() if draft <= 4 or not value.is_integer():
            return "fraction"
    return "integer"


def taken_whole(schema: Any, checked: "CheckedSchema") -> frozenset[str]:
    """The kinds of which every value certainly fits. Only what needs no search is looked at."""
    if isinstance(schema, dict) and schema.keys() == {"$ref"}:
        schema = checked.target(schema)
    if isinstance(schema, bool):
        return KINDS if schema else frozenset()
    if schema.keys() == {"anyOf"}:
        return frozenset[str]().union(*(taken_whole(option, checked) for option in schema["anyOf"]))
    if _COMBINED & schema.keys():
        return frozenset()
    kinds = of_types(schema["type"]) if "type" in schema else KINDS
    return frozenset(kind for kind in kinds if not _RESTRICTED[kind] & schema.keys())
