"""Arrays whose items must differ end before they have to repeat, and are refused where they must repeat."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from inference.engine.engine import Engine
from inference.engine.errors import InvalidGrammar
from inference.engine.grammar.distinct import DistinctValues
from inference.engine.grammar.source import Grammar
from tests.engine_requests import finish, request, submit
from tests.models import tiny_engine

LETTERS = {"enum": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(eos_ids=(256,), start=False)
    yield engine
    engine.stop()


def unique(items: Any, **others: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, "uniqueItems": True, **others}


def schema(value: Any) -> Grammar:
    return Grammar.of_schema(value, field="json_schema")


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (unique(LETTERS, minItems=4), ""),
        (unique(LETTERS, minItems=4.0), ""),
        (unique({"type": ["boolean", "null"]}, minItems=5, prefixItems=[{"type": "string"}]), ""),
        (
            {
                "$defs": {"letter": LETTERS},
                "type": "object",
                "properties": {"letters": unique({"$ref": "#/$defs/letter"}, minItems=4)},
                "required": ["letters"],
            },
            ".properties.letters",
        ),
        (unique({"enum": [{"a": 1}, {"a": 1.0}]}, minItems=2), ""),
    ],
)
def test_more_different_items_than_there_are_is_refused(engine: Engine, value: Any, place: str) -> None:
    with pytest.raises(InvalidGrammar, match="its items must differ") as refused:
        engine.grammars.compile(schema(value))
    assert refused.value.field == f"json_schema{place}"


@pytest.mark.parametrize(
    "value",
    [
        unique(LETTERS, minItems=3),
        unique({}, minItems=4),
        unique({"anyOf": [LETTERS, {"type": "string"}]}, minItems=4),
        {"anyOf": [unique(LETTERS, minItems=4), {"const": 1}]},
        {"type": "object", "properties": {"letters": unique(LETTERS, minItems=4)}},
        # Draft 7 ignores what stands beside a reference.
        {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "definitions": {"letter": {"type": "string"}},
            **unique({"$ref": "#/definitions/letter", "enum": ["a"]}, minItems=2),
        },
    ],
)
def test_what_can_be_satisfied_is_not_refused(engine: Engine, value: Any) -> None:
    engine.grammars.compile(schema(value))


def test_a_text_cannot_go_on_with_items_that_must_repeat(engine: Engine) -> None:
    compiled = engine.grammars.compile(schema(unique(LETTERS)))
    constraint = compiled.constraint(end_ids=frozenset({256}), stops=False)
    for token_id in engine._tokenizer.encode('["a","b","c"'):
        assert token_id in constraint.allowed(may_end=True).ids
        constraint.accept(token_id)
    [comma, end] = engine._tokenizer.encode(",]")
    assert comma not in constraint.allowed(may_end=True).ids
    assert end in constraint.allowed(may_end=True).ids


@pytest.mark.parametrize("excluded", [True, {}])
def test_a_schema_that_excludes_every_value_is_refused(engine: Engine, excluded: Any) -> None:
    value = {"type": "object", "properties": {"a": {"not": excluded}}}
    with pytest.raises(InvalidGrammar, match="excludes every value") as refused:
        engine.grammars.compile(schema({**value, "required": ["a"]}))
    assert refused.value.field == "json_schema.properties.a"
    one = submit(engine, replace(request("Hi", new=64), grammar=schema({**value, "maxProperties": 0})))
    finish(engine)
    assert one.result().text


def test_a_bound_is_never_too_low() -> None:
    values = DistinctValues({"$defs": {"loop": {"$ref": "#/$defs/loop"}}})
    assert values.most({"const": 1}) == 1
    assert values.most({"oneOf": [LETTERS, {"type": "boolean"}]}) == 5
    assert values.most({"allOf": [LETTERS, {"type": "string"}]}) == 3
    assert values.most({"enum": [1, 1.0, True, "1"]}) == 3
    assert values.most(False) == 0
    for unbounded in (True, {}, {"$ref": "#/$defs/loop"}, {"$ref": "#/none"}, {"type": ["null", "string"]}):
        assert values.most(unbounded) is None
