"""What is no JSON Schema by its draft's own schema is refused, as `jsonschema` does it."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema.validators import validator_for

from inference.engine.grammar.checked_schema import SUPPORTED_DRAFTS
from inference.engine.grammar.paths import SchemaRefused, under
from inference.engine.grammar.well_formed import _fits, check_well_formed
from tests.examples import examples

VALUES = st.recursive(
    st.sampled_from([True, -1, 0, 1.5, 2.0, "string", "any", "#", "#/$defs/a", "[", "(?i)a", None]),
    lambda values: (
        st.lists(values, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("type", "enum", "items", "prefixItems", "properties", "patternProperties", "required"),
                    *("anyOf", "not", "if", "$ref", "$defs", "definitions", "minLength", "maxItems", "a["),
                    *("multipleOf", "pattern", "format", "dependencies", "dependentRequired", "uniqueItems"),
                    *("additionalProperties", "exclusiveMinimum", "propertyNames", "$id", "$anchor"),
                ]
            ),
            values,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@settings(max_examples=examples(150), deadline=None)
@given(draft=st.sampled_from(SUPPORTED_DRAFTS), schema=st.dictionaries(st.just("items"), VALUES) | VALUES)
def test_nothing_is_a_schema_that_jsonschema_refuses(draft: str, schema: Any) -> None:
    if not isinstance(schema, dict):
        return
    schema = {**schema, "$schema": draft}
    validator = validator_for(schema)
    meta = validator(validator.META_SCHEMA, format_checker=validator.FORMAT_CHECKER)
    mistakes = {under("$", *error.absolute_path) for error in meta.iter_errors(schema)}
    if not mistakes:
        check_well_formed(schema)
        return
    assert not _fits(schema, validator)
    with pytest.raises(SchemaRefused) as refused:
        check_well_formed(schema)
    assert refused.value.path in mistakes


@pytest.mark.parametrize("draft", SUPPORTED_DRAFTS)
def test_plain_schemas_are_not_left_to_jsonschema(draft: str) -> None:
    names = "$defs" if "2020" in draft or "2019" in draft else "definitions"
    schema: dict[str, Any] = {
        "$schema": draft,
        names: {"a": {"enum": [1, "x"]}},
        "type": ["object", "null"],
        "properties": {"b": {"$ref": f"#/{names}/a"}, "c": {"type": "string", "pattern": "^x+$"}},
        "required": ["b"],
        "additionalProperties": False,
    }
    assert _fits(schema, validator_for(schema))


def test_a_schema_of_many_levels_is_refused() -> None:
    schema: Any = True
    for _ in range(900):
        schema = {"not": schema}
    with pytest.raises(SchemaRefused, match="nested too deeply"):
        check_well_formed(schema)


@pytest.mark.parametrize("draft", SUPPORTED_DRAFTS)
@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("type", "text"),
        ("enum", 1),
        ("required", "a"),
        ("properties", {"a": 1}),
        ("items", "a"),
        ("anyOf", []),
        ("not", 1),
        ("minLength", -1),
        ("maxItems", 1.5),
        ("multipleOf", 0),
        ("pattern", "("),
        ("uniqueItems", 1),
        ("additionalProperties", "a"),
    ],
)
def test_a_wrong_keyword_is_refused_by_its_place(draft: str, keyword: str, value: Any) -> None:
    with pytest.raises(SchemaRefused) as refused:
        check_well_formed({"$schema": draft, "properties": {"a": {keyword: value}}})
    assert refused.value.path.startswith(f"$.properties.a.{keyword}")


@pytest.mark.parametrize("draft", SUPPORTED_DRAFTS)
def test_of_several_mistakes_the_first_is_named(draft: str) -> None:
    wrong = {f"p{number}": {"type": "text"} for number in range(20)}
    with pytest.raises(SchemaRefused) as refused:
        check_well_formed({"$schema": draft, "properties": wrong})
    assert refused.value.path == "$.properties.p0.type"


def test_a_pattern_that_repeats_too_often_is_refused() -> None:
    with pytest.raises(SchemaRefused, match="repeats"):
        check_well_formed({"type": "string", "pattern": "a{99999999999999999999}"})
