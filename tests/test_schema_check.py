"""The check of finished texts judges as `jsonschema` does and in bounded time, or refuses the schema."""

import json
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import (
    Draft4Validator,
    Draft7Validator,
    Draft201909Validator,
    Draft202012Validator,
    SchemaError,
)
from jsonschema.validators import extend
from referencing import Registry

from inference.engine.errors import NoFittingText
from inference.engine.grammar.check import SchemaCheck
from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.paths import SchemaRefused
from tests.examples import examples

VALIDATORS: dict[str, Any] = {
    "http://json-schema.org/draft-04/schema#": Draft4Validator,
    "http://json-schema.org/draft-07/schema#": Draft7Validator,
    "https://json-schema.org/draft/2019-09/schema": Draft201909Validator,
    "https://json-schema.org/draft/2020-12/schema": Draft202012Validator,
}
NAMES = ["a", "b", "ab", "c"]
SCALARS = [None, True, False, 0, 1, 2, 3, 0.5, 1.0, 2.5, "", "a", "bb"]


class _Draw:
    """Schemas and values of all forms, from a seed."""

    def __init__(self, seed: int, kind: Any) -> None:
        self._random = random.Random(seed)  # noqa: S311
        self._known = {*kind.VALIDATORS, "then", "else", "minContains", "maxContains", "dependencies"}
        if kind is Draft201909Validator:
            # `jsonschema` takes the names in the schema of `additionalProperties` for those of the value.
            self._known -= {"unevaluatedProperties", "unevaluatedItems"}

    def schema(self, depth: int = 0) -> Any:
        one = self._random.choice
        if depth > 2 or self._random.random() < 0.1:
            return one([{}, {"type": "integer"}, {"minimum": 2}, {"enum": [1]}, {"maxLength": 1}])

        def below() -> Any:
            return self.schema(depth + 1)

        def some() -> list[Any]:
            return [below() for _ in range(one([1, 2, 3]))]

        def named(names: list[str]) -> dict[str, Any]:
            return {name: below() for name in self._random.sample(names, 2)}

        keywords: dict[str, Callable[[], Any]] = {
            "type": lambda: one(["object", "array", "integer", "number", "string", ["boolean", "null"]]),
            "enum": lambda: [self.value(), self.value()],
            "const": self.value,
            "pattern": lambda: one(["^a", "b$", "."]),
            "uniqueItems": lambda: one([True, False]),
            "multipleOf": lambda: one([2, 0.5, 1.5]),
            "required": lambda: [one(NAMES)],
            "patternProperties": lambda: named(["^a", "b", "c$"]),
            "dependencies": lambda: {one(NAMES): [one(NAMES)]},
            "dependentRequired": lambda: {one(NAMES): [one(NAMES)]},
            "$ref": lambda: "#/definitions/other",
            **{name: lambda: named(NAMES) for name in ("properties", "dependentSchemas")},
            **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), some),
        }
        bounds = [
            f"{side}{of}" for side in ("min", "max") for of in ("Length", "Items", "Properties", "imum")
        ]
        for name in (*bounds, "minContains", "maxContains", "exclusiveMinimum", "exclusiveMaximum"):
            keywords[name] = lambda: one([0, 1, 2, 3])
        for name in ("not", "if", "then", "else", "contains", "items", "propertyNames"):
            keywords[name] = below
        for name in ("additionalProperties", "unevaluatedProperties", "unevaluatedItems"):
            keywords[name] = lambda: one([False, below()])
        names = self._random.sample(sorted(keywords.keys() & self._known), 4)
        return {name: keywords[name]() for name in names}

    def value(self, depth: int = 0) -> Any:
        form = self._random.randrange(3 if depth < 2 else 1)
        if form == 1:
            return [self.value(depth + 1) for _ in range(self._random.randrange(5))]
        if form == 2:
            return {
                name: self.value(depth + 1) for name in self._random.sample(NAMES, self._random.randrange(4))
            }
        return self._random.choice(SCALARS)


@settings(max_examples=examples(300), deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(list(VALIDATORS)))
def test_the_check_judges_as_jsonschema_does(seed: int, draft: str) -> None:
    kind = VALIDATORS[draft]
    draw = _Draw(seed, kind)
    schema = {"$schema": draft, "definitions": {"other": draw.schema(3)}, "allOf": [draw.schema()]}
    try:
        kind.check_schema(schema)
    except SchemaError:
        return
    validator = extend(kind, {"dependencies": Draft7Validator.VALIDATORS["dependencies"]})(
        schema, registry=Registry()
    )
    check = SchemaCheck(schema)
    for value in [draw.value() for _ in range(12)]:
        assert check.fits(json.dumps(value)) == validator.is_valid(value), (schema, value)


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
