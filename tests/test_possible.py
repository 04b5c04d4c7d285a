"""Schemas that no value fits are found out by counting, and a value that fits is never left out."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.engine import Engine
from inference.engine.errors import InvalidGrammar
from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.evaluation import Evaluation
from inference.engine.grammar.identity import identity
from inference.engine.grammar.kinds import kind_of, taken_whole
from inference.engine.grammar.paths import SchemaRefused
from inference.engine.grammar.possible import Search
from inference.engine.grammar.source import Grammar
from tests.examples import examples
from tests.models import tiny_engine

NULL = {"type": "null"}
DRAFT_7 = {"$schema": "http://json-schema.org/draft-07/schema#"}


def array(**others: Any) -> dict[str, Any]:
    return {"type": "array", **others}


def obj(*required: str, **others: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), **others}


def closed(*required: str, **others: Any) -> dict[str, Any]:
    return obj(*required, properties={"a": NULL, "b": NULL}, additionalProperties=False, **others)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "string", "not": {"type": "string"}}, "`not` excludes every value"),
        ({"type": "integer", "not": {"type": "number"}}, "`not` excludes every value"),
        ({"type": "object", "not": {"type": ["object", "null"]}}, "`not` excludes every value"),
        ({"not": {}}, "`not` excludes every value"),
        ({"enum": ["a", "b"], "not": {"enum": ["a", "b", "c"]}}, "none of its few values"),
        ({"const": "ab", "not": {"pattern": "^a"}}, "none of its few values"),
        ({"type": ["null", "boolean"], "not": {"enum": [None, True, False]}}, "none of its few values"),
        ({"oneOf": [NULL, NULL]}, "exclude each other"),
        ({"oneOf": [{"type": "string"}, {"type": "string"}]}, "exclude each other"),
        ({"type": "null", "if": True, "then": False}, "exclude each other"),
        ({"allOf": [{"type": "string"}, {"not": {"type": "string"}}]}, "exclude each other"),
        (
            array(items=NULL, maxItems=1, contains=NULL, minContains=2),
            "match 2 or more items, and can match 1 at most",
        ),
        (array(contains=True, maxItems=0), "match 1 or more items, and can match 0 at most"),
        (array(contains=False), "can match 0 at most"),
        (array(items=NULL, contains={"type": "string"}), "can match 0 at most"),
        (
            array(prefixItems=[NULL], items={"type": "string"}, contains=NULL, minContains=2),
            "can match 1 at most",
        ),
        (
            array(contains=NULL, minContains=3, maxContains=2),
            "match 3 or more items, and can match 2 at most",
        ),
        (array(contains={"const": 1}, minContains=2, uniqueItems=True), "can match 1 at most"),
        (
            array(minItems=3, items=NULL, contains=NULL, maxContains=2),
            "match 2 items at most, and matches 3 or more",
        ),
        (array(minItems=2, prefixItems=[{"const": 1}] * 2, uniqueItems=True), "its items must differ"),
        (array(minItems=2, items={"type": "null", "not": NULL}), "2 or more items, and can have 0 at most"),
        (obj(propertyNames=False, minProperties=1), "1 or more properties, and can have 0 at most"),
        (obj(propertyNames={"type": "integer"}, minProperties=1), "can have 0 at most"),
        (obj(propertyNames={"enum": ["a", "b"]}, minProperties=3), "can have 2 at most"),
        (obj("ab", propertyNames={"maxLength": 1}), "“ab” is required"),
        (obj("a", "b", maxProperties=1), "2 or more properties, and can have 1 at most"),
        (closed(minProperties=3), "can have 2 at most"),
        (closed(minProperties=2, propertyNames={"pattern": "a"}), "can have 1 at most"),
        (closed("c"), "“c” is required"),
        (closed("a", dependentRequired={"a": ["b"], "b": ["c"]}), "“c” is required"),
        (closed("a", dependentSchemas={"a": {"required": ["c"]}}), "“c” is required"),
        (closed("a", dependentSchemas={"a": False}), "no object with it fits"),
        (closed("a", "b", **{"not": {"required": ["a"]}}), "`not` excludes what it requires"),
        ({"allOf": [closed(), {"minProperties": 3}]}, "can have 2 at most"),
        ({"$defs": {"x": closed()}, "$ref": "#/$defs/x", "minProperties": 3}, "can have 2 at most"),
    ],
)
def test_a_schema_that_no_value_fits_is_found_out(schema: dict[str, Any], reason: str) -> None:
    possible = Search(CheckedSchema(schema)).of(schema)
    assert not possible.kinds
    assert reason in (possible.reason or "")


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "number", "not": {"type": "integer"}},
        {"type": "string", "not": {"type": "string", "minLength": 1}},
        {"enum": ["a", "b"], "not": {"const": "a"}},
        {**DRAFT_7, "definitions": {"x": True}, "$ref": "#/definitions/x", "not": {}},
        {**DRAFT_7, **array(items=NULL, contains=NULL, minContains=9, maxItems=1)},
        array(maxItems=0, contains=NULL, minContains=0),
        array(items=NULL, contains=NULL, minContains=2, maxItems=2),
        array(items={"type": "integer"}, contains={"minimum": 5}),
        array(prefixItems=[False]),
        obj(propertyNames={"enum": ["a", "b"]}, minProperties=2),
        obj(propertyNames=False),
        closed(minProperties=2),
        obj(
            minProperties=3,
            properties={"a": NULL},
            patternProperties={"^x": NULL},
            additionalProperties=False,
        ),
        closed("a", **{"not": {"required": ["a", "b"]}}),
        closed(dependentRequired={"a": ["c"]}),
        {
            "$defs": {"t": obj(properties={"n": {"anyOf": [NULL, {"$ref": "#/$defs/t"}]}}, **{"not": NULL})},
            "$ref": "#/$defs/t",
        },
    ],
)
def test_what_a_value_fits_is_possible(schema: dict[str, Any]) -> None:
    assert Search(CheckedSchema(schema)).any(schema)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(eos_ids=(256,), start=False)
    yield engine
    engine.stop()


NOTHING = array(items=NULL, maxItems=1, contains=NULL, minContains=2)
DEFINED = {"$defs": {"nothing": NOTHING}}
DEFINED_IN_DRAFT_7 = {"$defs": {"nothing": array(contains=False)}}
OPEN = {"$defs": {"open": {"properties": {"a": NULL}}}}
NOT_NULL = {"not": NULL}
REFERENCE = {"$ref": "#/$defs/nothing"}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (NOTHING, ""),
        (obj("a", properties={"a": NOTHING}), ".properties.a"),
        ({**DEFINED, **obj("a", properties={"a": REFERENCE})}, ".properties.a"),
        (array(items=NOTHING, minItems=1), ".items"),
        ({"anyOf": [NOTHING, False]}, ".anyOf[0]"),
        (closed("a", dependentRequired={"a": ["c"]}), ""),
        (obj(properties={"a": NOTHING}, minProperties=3, maxProperties=2), ""),
    ],
)
def test_what_no_value_fits_is_refused_by_its_place(engine: Engine, value: Any, place: str) -> None:
    with pytest.raises(InvalidGrammar, match="o text satisfies it") as refused:
        engine.grammars.compile(Grammar.of_schema(value, field="json_schema"))
    assert refused.value.field == f"json_schema{place}"


@pytest.mark.parametrize(
    "value",
    [
        {"anyOf": [NOTHING, NULL]},
        obj(properties={"a": NOTHING}),
        {**DEFINED, **obj(properties={"a": REFERENCE}, additionalProperties=REFERENCE)},
        {**DEFINED, "anyOf": [REFERENCE, NULL]},
        array(items=NOTHING),
        # The search ends before it comes to the reference.
        {
            "$defs": DEFINED["$defs"] | dict.fromkeys(map(str, range(2100)), NOT_NULL),
            **obj(properties={"a": REFERENCE}),
        },
        # Keywords of newer drafts, which mean nothing in this one.
        {**DRAFT_7, **obj("a", dependentSchemas=5, dependentRequired={"a": 5})},
    ],
)
def test_a_part_that_nothing_fits_refuses_no_schema_that_can_do_without_it(
    engine: Engine, value: Any
) -> None:
    engine.grammars.compile(Grammar.of_schema(value, field="json_schema"))


@pytest.mark.parametrize(
    ("value", "text", "fits"),
    [
        ({"enum": ["a", "b"], "not": {"const": "a"}}, '"b"', True),
        ({"enum": ["a", "b"], "not": {"const": "a"}}, '"a"', False),
        ({"not": {"type": "string"}}, "1", True),
        ({"not": {"type": "string"}}, '"a"', False),
        (obj(properties={"a": NULL}, unevaluatedProperties=False), '{"a":null}', True),
        (obj(properties={"a": NULL}, unevaluatedProperties=False), '{"b":null}', False),
        (array(prefixItems=[NULL], unevaluatedItems=False), "[null]", True),
        (array(prefixItems=[NULL], unevaluatedItems=False), "[null,1]", False),
        (array(contains=NULL, unevaluatedItems=False), "[null,null]", True),
        ({**DEFINED, **obj(properties={"a": REFERENCE})}, '{"a":[null]}', False),
        ({**DRAFT_7, **DEFINED_IN_DRAFT_7, **obj(properties={"a": REFERENCE})}, '{"a":[null]}', False),
        (obj(allOf=[{"properties": {"a": NULL}}], unevaluatedProperties=False), '{"a":null}', True),
        (obj(allOf=[{"properties": {"a": NULL}}], unevaluatedProperties=False), '{"b":null}', False),
        ({**OPEN, **obj(unevaluatedProperties=False, **{"$ref": "#/$defs/open"})}, '{"a":null}', True),
        ({**OPEN, **obj(unevaluatedProperties=False, **{"$ref": "#/$defs/open"})}, '{"b":null}', False),
        (obj(anyOf=[{"properties": {"a": NULL}}, OPEN], unevaluatedProperties=False), '{"b":null}', False),
        (obj(patternProperties={"b": NULL}, unevaluatedProperties=False), '{"b":null}', True),
        (obj(patternProperties={"b": NULL}, unevaluatedProperties=False), '{"a":null}', False),
        (obj(allOf=[{"additionalProperties": True}], unevaluatedProperties=False), '{"a":null}', True),
    ],
)
def test_what_cannot_fit_is_not_drawn(engine: Engine, value: Any, text: str, fits: bool) -> None:
    compiled = engine.grammars.compile(Grammar.of_schema(value, field="json_schema"))
    constraint = compiled.constraint(end_ids=frozenset({256}), stops=False)
    followed = True
    for token_id in engine._tokenizer.encode(text):
        followed = followed and token_id in constraint.allowed(may_end=True).ids
        if followed:
            constraint.accept(token_id)
    assert followed == fits


@pytest.mark.parametrize(
    "schema",
    [
        obj(allOf=[{"properties": {"a": NULL}}], unevaluatedProperties=False),
        array(allOf=[{"prefixItems": [NULL]}], unevaluatedItems=False),
        array(contains=False),
        obj(propertyNames=False),
        {"if": {"type": "string", "minLength": 1}, "then": False},
    ],
)
def test_a_keyword_whose_schema_is_false_is_checked_at_the_end(engine: Engine, schema: Any) -> None:
    """A text that it may refuse must not be streamed before."""
    source = Grammar.of_schema({"anyOf": [schema, NULL]}, field="json_schema")
    assert engine.grammars.compile(source).constraint(end_ids=frozenset(), stops=False).provisional


NAMES = st.sampled_from(["a", "b", "ab"])
COUNTS = st.integers(0, 3)
VALUES = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 1.0, 1.5, "", "a", "ab"]),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=3),
    max_leaves=5,
)
TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


def _schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    many = st.lists(inner, min_size=1, max_size=2)
    named = st.dictionaries(NAMES, inner, max_size=2)
    names = st.lists(NAMES, max_size=2, unique=True)
    keywords = {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "const": VALUES,
        "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b"]),
        "minimum": COUNTS,
        "maxLength": COUNTS,
        "pattern": NAMES,
        "required": names,
        "uniqueItems": st.booleans(),
        "dependentRequired": st.dictionaries(NAMES, names, max_size=2),
        **dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), many),
        **dict.fromkeys(("properties", "patternProperties", "dependentSchemas"), named),
        **dict.fromkeys(("not", "if", "then", "else", "items", "contains", "additionalProperties"), inner),
        **dict.fromkeys(("propertyNames", "unevaluatedProperties", "unevaluatedItems"), inner),
        **dict.fromkeys(("minItems", "maxItems", "minContains", "maxContains"), COUNTS),
        **dict.fromkeys(("minProperties", "maxProperties"), COUNTS),
    }
    return st.fixed_dictionaries({}, optional=keywords).map(
        lambda schema: dict(list(schema.items())[:5])
    ) | st.lists(
        st.sampled_from(list(keywords)).flatmap(lambda name: keywords[name].map(lambda one: (name, one))),
        max_size=4,
    ).map(dict)


SCHEMAS = st.recursive(st.booleans() | TYPES.map(lambda name: {"type": name}), _schemas, max_leaves=8)


@pytest.mark.slow
@settings(max_examples=examples(400), deadline=None)
@given(
    schema=_schemas(SCHEMAS),
    defined=st.tuples(SCHEMAS, SCHEMAS),
    draft=st.sampled_from([{}, DRAFT_7]),
    values=st.lists(VALUES, min_size=20, max_size=40),
)
def test_no_value_that_fits_is_left_out(schema: Any, defined: Any, draft: Any, values: list[Any]) -> None:
    schema = {**draft, **schema, "$defs": {"a": defined[0], "b": defined[1]}}
    checked = CheckedSchema(schema)
    try:
        checked.check_ends()
    except SchemaRefused:
        return
    possible = Search(checked).of(schema)
    whole = taken_whole(schema, checked)
    for value in values:
        kind = kind_of(value, draft=checked.draft)
        if Evaluation(checked, limit_s=9).fits(schema, value):
            assert kind in possible.kinds
            assert possible.values is None or identity(value) in set(map(identity, possible.values))
        else:
            assert kind not in whole
