"""The check of finished texts judges as `jsonschema` does and in bounded time, or refuses the schema."""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft4Validator, Draft7Validator, Draft201909Validator, Draft202012Validator
from referencing import Registry

from inference.engine.errors import NoFittingText
from inference.engine.grammar.check import SchemaCheck
from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.paths import SchemaRefused

VALIDATORS: dict[str, Any] = {
    "http://json-schema.org/draft-04/schema#": Draft4Validator,
    "http://json-schema.org/draft-07/schema#": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
NAMES = st.sampled_from(["a", "b", "ab", "c"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 5),
    st.sampled_from([0.5, 1.0, 2.5]),
    st.sampled_from(["", "a", "bb"]),
)
VALUES = st.recursive(
    SCALARS, lambda one: st.lists(one, max_size=4) | st.dictionaries(NAMES, one, max_size=3), max_leaves=8
)


def _keywords(schema: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    named = st.dictionaries(NAMES, schema, max_size=2)
    some = st.lists(schema, min_size=1, max_size=2)
    counts = st.integers(0, 3)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "type": st.sampled_from(["object", "array", "integer", "number", "string", "boolean", "null"]),
        "enum": st.lists(VALUES, min_size=1, max_size=3, unique_by=repr),
        "minimum": st.integers(-1, 3), "multipleOf": st.sampled_from([1, 2, 0.5]),
        "maxLength": counts, "minLength": counts, "pattern": st.sampled_from(["^a", "b$", "."]),
        "minItems": counts, "maxItems": counts, "uniqueItems": st.booleans(),
        "minProperties": counts, "maxProperties": counts,
        "required": st.lists(NAMES, min_size=1, max_size=2, unique=True),
        "patternProperties": st.dictionaries(st.sampled_from(["^a", "b"]), schema, max_size=2),
        "properties": named, "additionalProperties": schema, "items": schema,
        "allOf": some, "anyOf": some, "oneOf": some, "not": schema,
        "dependencies": st.dictionaries(NAMES, st.lists(NAMES, min_size=1, max_size=1), max_size=1),
        "$ref": st.just("#/definitions/other"),
    }  # fmt: skip
    newer: dict[str, st.SearchStrategy[Any]] = {
        "const": VALUES, "contains": schema, "propertyNames": schema,
        "if": schema, "then": schema, "else": schema,
        "exclusiveMaximum": st.integers(0, 3), "dependentRequired": st.just({"a": ["b"]}),
        "dependentSchemas": named, "unevaluatedProperties": schema, "unevaluatedItems": schema,
        "prefixItems": some, "minContains": counts, "maxContains": counts,
    }  # fmt: skip
    return st.fixed_dictionaries({}, optional={**keywords, **newer}).map(
        lambda all_of_them: dict(list(all_of_them.items())[:4])
    )


SCHEMAS = st.recursive(st.just({"type": "integer"}), _keywords, max_leaves=6)


def _known(schema: Any, kind: Any) -> Any:
    """The schema without keywords that its draft does not have."""
    if isinstance(schema, list):
        return [_known(one, kind) for one in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {"definitions", "then", "else", "minContains", "maxContains", *kind.VALIDATORS}
    named = {"properties", "patternProperties", "definitions", "dependentSchemas"}
    return {
        name: (
            {key: _known(one, kind) for key, one in value.items()}
            if name in named
            else value if name in {"enum", "const"} else _known(value, kind)
        )
        for name, value in schema.items()
        if name in kept
    }  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(list(VALIDATORS)), SCHEMAS, SCHEMAS, st.lists(VALUES, min_size=3, max_size=6))
def test_the_check_judges_as_jsonschema_does(draft: str, schema: Any, other: Any, values: list[Any]) -> None:
    kind = VALIDATORS[draft]
    schema, other = _known(schema, kind), _known(other, kind)
    other.pop("$ref", None)
    whole = {"$schema": draft, "definitions": {"other": other}, "allOf": [schema]}
    try:
        kind.check_schema(whole)
        checked = CheckedSchema(whole)
        checked.check_ends()
    except Exception:
        return
    validator = kind(whole, registry=Registry())
    for value in values:
        assert SchemaCheck(whole).fits(json.dumps(value)) == validator.is_valid(value), (whole, value)


@pytest.mark.parametrize(
    ("schema", "text", "fits"),
    [
        ({"uniqueItems": True}, "[[1], [true], [1]]", False),
        ({"uniqueItems": True}, "[[1], [true], 1, true, 1.5]", True),
        ({"type": "object"}, '{"a": 1, "\\u0061": 2}', True),
        ({"properties": {"a": {"type": "integer"}}}, '{"a": 1, "\\u0061": "x"}', False),
        ({"type": "integer"}, "9" * 5000, False),
        ({"type": "number"}, "1e999", False),
        ({"type": "number", "multipleOf": 0.5}, "1" + "0" * 307, True),
        ({"type": "number", "multipleOf": 1e-300}, "1e300", False),
        ({"format": "regex"}, '"(a"', False),
        ({"format": "regex"}, '"^(a|b)+$"', True),
        ({"not": {"format": "date-time"}}, '"2024-02-30T00:00:00Z"', True),
        ({"$ref": "#x", "$defs": {"a": {"$anchor": "x", "type": "integer"}}}, "1.5", False),
        ({"$id": "http://x.y/a", "$ref": "b#/$defs/c",
          "$defs": {"b": {"$id": "b", "$defs": {"c": {"minimum": 2}}}}}, "1", False),
        ({}, "[" * 100_000, False),
    ],
)  # fmt: skip
def test_values_that_clients_read_in_different_ways(schema: Any, text: str, fits: bool) -> None:
    assert SchemaCheck(schema).fits(text) is fits


@pytest.mark.parametrize(
    ("schema", "place", "reason"),
    [
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, "$.$schema", "draft 3"),
        ({"properties": {"a": {"divisibleBy": 3}}}, "$.properties.a.divisibleBy", "draft 3"),
        ({"not": {"extends": {}}}, "$.not.extends", "draft 3"),
        ({"items": {"pattern": "[a-z&&[^b]]"}}, "$.items.pattern", "ambiguous"),
        ({"pattern": "[a--b]"}, "$.pattern", "ambiguous"),
        ({"patternProperties": {"[a~~b]": {}}}, '$.patternProperties["[a~~b]"]', "ambiguous"),
        ({"pattern": "[[:alpha:]]"}, "$.pattern", "ambiguous"),
        ({"pattern": "a++"}, "$.pattern", "possessive"),
        ({"pattern": r"\u{41}"}, "$.pattern", "cannot be searched"),
        ({"not": {"$ref": "http://example.com/x"}}, "$.not.$ref", "other documents"),
        ({"if": {"$ref": "#/$defs/x"}}, "$.if.$ref", "points to nothing"),
        ({"not": {"format": "email"}}, "$.not.format", "“email”"),
    ],
)
def test_a_schema_that_the_check_could_not_judge_is_refused_by_its_place(
    schema: Any, place: str, reason: str
) -> None:
    with pytest.raises(SchemaRefused, match=reason) as refused:
        SchemaCheck(schema)
    assert refused.value.path == place


@pytest.mark.parametrize(
    "schema",
    [
        {"anyOf": [{"$ref": "#"}, {"type": "integer"}]},
        {"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"if": {"$ref": "#/$defs/a"}}}},
        {"dependentSchemas": {"a": {"allOf": [{"$ref": "#"}]}}},
    ],
)
def test_a_schema_that_applies_itself_without_end_is_refused(schema: Any) -> None:
    with pytest.raises(SchemaRefused, match="without end"):
        CheckedSchema(schema).check_ends()
    CheckedSchema({"properties": {"a": {"$ref": "#"}}, "anyOf": [{"items": {"$ref": "#"}}]}).check_ends()


@pytest.mark.parametrize(
    "pattern", [r"[\[\]]", "[]a]", "[^]a]", r"\[&&", "a+?", r"a\++", "[a-z-]{2}", "^[-+]?$"]
)
def test_plain_patterns_are_not_refused(pattern: str) -> None:
    SchemaCheck({"pattern": pattern})


def _hostile() -> Iterator[tuple[str, Any, str]]:
    names = {"a" * 40 + "!" * (i + 1): 1 for i in range(100)}
    patterns = {f"^(a|a)*{i}$": {"type": "integer"} for i in range(50)}
    for keyword in ("additionalProperties", "unevaluatedProperties", "propertyNames"):
        yield (
            keyword,
            {"patternProperties": patterns, keyword: {"type": ["integer", "string"]}},
            json.dumps(names),
        )
    yield "pattern", {"items": {"pattern": "^(a|a)*$"}}, json.dumps([*names] * 10)
    yield "unique", {"uniqueItems": True}, json.dumps([[i] if i % 2 else str(i) for i in range(20_000)])
    yield (
        "unevaluated",
        {"unevaluatedItems": False, "contains": {"type": "integer"}},
        json.dumps([1] * 50_000),
    )
    chain = {f"a{i}": {"allOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(30)}
    yield "references", {"$defs": {**chain, "a30": {}}, "$ref": "#/$defs/a0"}, "1"
    yield "items", {"items": {"title": "x"}}, json.dumps([1] * 100_000)
    required = {"required": [f"name {i}" for i in range(10_000)]}
    yield "errors", {"items": {"anyOf": [required] * 20}}, json.dumps([{}] * 5_000)
    yield "literals", {"items": {"enum": [f"v{i}" for i in range(20_000)]}}, json.dumps(["v1"] * 20_000)
    yield "regex", {"format": "regex"}, json.dumps("(?i)[\\x00-\\uffff]" * 500)


@pytest.mark.parametrize(("schema", "text"), [pytest.param(*rest, id=name) for name, *rest in _hostile()])
def test_a_hostile_schema_does_not_hold_the_check(schema: Any, text: str) -> None:
    check = SchemaCheck(schema)
    began = time.thread_time()
    with suppress(NoFittingText):  # it took too long
        check.fits(text)
    assert time.thread_time() - began < 1  # several times the limit, and a hundredth of what they would take
