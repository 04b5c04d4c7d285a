"""What each keyword of JSON Schema asks of a value."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import regex
from jsonschema import FormatChecker

from inference.engine.grammar.formats import JUDGED_FORMATS, PATTERNS_OF_FORMATS
from inference.engine.grammar.identity import identity

if TYPE_CHECKING:
    from inference.engine.grammar.evaluation import Evaluation

_FORMATS = FormatChecker(JUDGED_FORMATS - PATTERNS_OF_FORMATS.keys())
_PATTERNS = {name: regex.compile(pattern) for name, pattern in PATTERNS_OF_FORMATS.items()}
_LONGEST_PATTERN = 1000
"""Characters of a text of the format “regex”. Whether it is one is found out by compiling it."""
_FLAGS = re.compile(r"\(\?[A-Za-z-]")

Keyword = Callable[["Evaluation", Any, Any, dict[str, Any]], bool]
"""Takes the keyword's argument, the value, and the schema that has the keyword."""


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of_type(evaluation: "Evaluation", types: str | list[str], value: Any, _: Any) -> bool:
    return any(_is(evaluation, name, value) for name in ([types] if isinstance(types, str) else types))


def _is(evaluation: "Evaluation", name: str, value: Any) -> bool:
    match name:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "number":
            return _number(value)
        case "integer":
            whole = isinstance(value, float) and value.is_integer() and evaluation.schema.draft > 4
            return whole or (isinstance(value, int) and not isinstance(value, bool))
        case "boolean":
            return isinstance(value, bool)
        case _:
            return name == "null" and value is None


def _of_numbers(fits: Callable[[Any, Any, dict[str, Any]], bool]) -> Keyword:
    return lambda evaluation, argument, value, schema: (
        not _number(value) or isinstance(argument, bool) or fits(argument, value, schema)
    )


def _of_strings(fits: Callable[["Evaluation", Any, str], bool]) -> Keyword:
    return lambda evaluation, argument, value, schema: (
        not isinstance(value, str) or fits(evaluation, argument, value)
    )


def _of_arrays(fits: Callable[["Evaluation", Any, list[Any], dict[str, Any]], bool]) -> Keyword:
    return lambda evaluation, argument, value, schema: (
        not isinstance(value, list) or fits(evaluation, argument, value, schema)
    )


def _of_objects(fits: Callable[["Evaluation", Any, dict[str, Any], dict[str, Any]], bool]) -> Keyword:
    return lambda evaluation, argument, value, schema: (
        not isinstance(value, dict) or fits(evaluation, argument, value, schema)
    )


def _at_least(least: float, value: float, schema: dict[str, Any]) -> bool:
    return value > least if schema.get("exclusiveMinimum") is True else value >= least


def _at_most(most: float, value: float, schema: dict[str, Any]) -> bool:
    return value < most if schema.get("exclusiveMaximum") is True else value <= most


def _multiple(of: float, value: float, _: Any) -> bool:
    if isinstance(of, int):
        return value % of == 0
    # As clients do it: decimal fractions are divided as floating-point numbers.
    quotient = value / of
    if quotient in (float("inf"), float("-inf")):
        return (Fraction(value) / Fraction(of)).denominator == 1
    return int(quotient) == quotient


def _format(evaluation: "Evaluation", name: str, value: str) -> bool:
    if pattern := _PATTERNS.get(name):
        return evaluation.search(pattern, value)
    if name == "regex" and not evaluation.compiles_any and _may_take_long(value):
        return False
    return bool(_FORMATS.conforms(value, name))


def _may_take_long(pattern: str) -> bool:
    """Whether compiling it may take seconds."""
    return len(pattern) > _LONGEST_PATTERN or _FLAGS.search(pattern) is not None


def _enum(evaluation: "Evaluation", _: Any, value: Any, schema: dict[str, Any]) -> bool:
    return identity(value) in evaluation.schema.literals(schema)


def _reference(evaluation: "Evaluation", _: Any, value: Any, schema: dict[str, Any]) -> bool:
    return evaluation.fits(evaluation.schema.target(schema), value)


def _one_of(evaluation: "Evaluation", parts: list[Any], value: Any, _: Any) -> bool:
    fitting = 0
    for part in parts:
        fitting += evaluation.fits(part, value)
        if fitting > 1:
            return False
    return fitting == 1


def _if(evaluation: "Evaluation", condition: Any, value: Any, schema: dict[str, Any]) -> bool:
    branch = "then" if evaluation.fits(condition, value) else "else"
    return evaluation.fits(schema.get(branch, True), value)


def _items(evaluation: "Evaluation", items: Any, value: list[Any], schema: dict[str, Any]) -> bool:
    if isinstance(items, list):
        return _first_items(evaluation, items, value, schema)
    first = len(schema.get("prefixItems", ()))
    return all(evaluation.fits(items, one) for one in value[first:])


def _first_items(evaluation: "Evaluation", parts: list[Any], value: list[Any], _: Any) -> bool:
    return all(evaluation.fits(part, one) for part, one in zip(parts, value, strict=False))


def _additional_items(evaluation: "Evaluation", part: Any, value: list[Any], schema: dict[str, Any]) -> bool:
    items = schema.get("items")
    return not isinstance(items, list) or all(evaluation.fits(part, one) for one in value[len(items) :])


def _contains(evaluation: "Evaluation", part: Any, value: list[Any], schema: dict[str, Any]) -> bool:
    counted = evaluation.schema.draft > 7
    least = schema.get("minContains", 1) if counted else 1
    most = schema.get("maxContains", len(value)) if counted else len(value)
    found = sum(evaluation.fits(part, one) for one in value)
    return bool(least <= found <= most)


def _unevaluated_items(evaluation: "Evaluation", part: Any, value: list[Any], schema: dict[str, Any]) -> bool:
    evaluated = evaluation.evaluated_items(schema, value, whole=False)
    return all(evaluation.fits(part, one) for place, one in enumerate(value) if place not in evaluated)


def _properties(evaluation: "Evaluation", parts: dict[str, Any], value: dict[str, Any], _: Any) -> bool:
    return all(evaluation.fits(parts[name], one) for name, one in value.items() if name in parts)


def _pattern_properties(
    evaluation: "Evaluation", parts: dict[str, Any], value: dict[str, Any], _: Any
) -> bool:
    return all(
        evaluation.fits(part, one)
        for pattern, part in parts.items()
        for name, one in value.items()
        if evaluation.found(pattern, name)
    )


def _additional_properties(
    evaluation: "Evaluation", part: Any, value: dict[str, Any], schema: dict[str, Any]
) -> bool:
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", ())
    return all(
        evaluation.fits(part, one)
        for name, one in value.items()
        if name not in named and not any(evaluation.found(pattern, name) for pattern in patterns)
    )


def _unevaluated_properties(
    evaluation: "Evaluation", part: Any, value: dict[str, Any], schema: dict[str, Any]
) -> bool:
    evaluated = evaluation.evaluated_names(schema, value, whole=False)
    return all(evaluation.fits(part, one) for name, one in value.items() if name not in evaluated)


def _dependencies(evaluation: "Evaluation", parts: dict[str, Any], value: dict[str, Any], _: Any) -> bool:
    return all(
        all(other in value for other in part) if isinstance(part, list) else evaluation.fits(part, value)
        for name, part in parts.items()
        if name in value
    )


KEYWORDS: dict[str, Keyword] = {
    "$ref": _reference,
    "type": _of_type,
    "enum": _enum,
    "const": lambda evaluation, one, value, schema: identity(value) == identity(one),
    "allOf": lambda evaluation, parts, value, _: all(evaluation.fits(part, value) for part in parts),
    "anyOf": lambda evaluation, parts, value, _: any(evaluation.fits(part, value) for part in parts),
    "oneOf": _one_of,
    "not": lambda evaluation, part, value, _: not evaluation.fits(part, value),
    "if": _if,
    "minimum": _of_numbers(_at_least),
    "maximum": _of_numbers(_at_most),
    "exclusiveMinimum": _of_numbers(lambda bound, value, _: value > bound),
    "exclusiveMaximum": _of_numbers(lambda bound, value, _: value < bound),
    "multipleOf": _of_numbers(_multiple),
    "minLength": _of_strings(lambda _, least, value: len(value) >= least),
    "maxLength": _of_strings(lambda _, most, value: len(value) <= most),
    "pattern": _of_strings(lambda evaluation, pattern, value: evaluation.found(pattern, value)),
    "format": _of_strings(_format),
    "prefixItems": _of_arrays(_first_items),
    "items": _of_arrays(_items),
    "additionalItems": _of_arrays(_additional_items),
    "contains": _of_arrays(_contains),
    "unevaluatedItems": _of_arrays(_unevaluated_items),
    "minItems": _of_arrays(lambda _, least, value, __: len(value) >= least),
    "maxItems": _of_arrays(lambda _, most, value, __: len(value) <= most),
    "uniqueItems": _of_arrays(lambda evaluation, wanted, value, _: not wanted or evaluation.unique(value)),
    "properties": _of_objects(_properties),
    "patternProperties": _of_objects(_pattern_properties),
    "additionalProperties": _of_objects(_additional_properties),
    "propertyNames": _of_objects(
        lambda evaluation, part, value, _: all(evaluation.fits(part, name) for name in value)
    ),
    "unevaluatedProperties": _of_objects(_unevaluated_properties),
    "required": _of_objects(lambda _, names, value, __: all(name in value for name in names)),
    "minProperties": _of_objects(lambda _, least, value, __: len(value) >= least),
    "maxProperties": _of_objects(lambda _, most, value, __: len(value) <= most),
    "dependencies": _of_objects(_dependencies),
    "dependentRequired": _of_objects(_dependencies),
    "dependentSchemas": _of_objects(_dependencies),
}
