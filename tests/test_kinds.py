"""The kinds of JSON values, and which of them a schema takes whole."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.grammar.checked_schema import CheckedSchema
from inference.engine.grammar.keywords import KEYWORDS
from inference.engine.grammar.kinds import KINDS, of_types, taken_whole, types_of
from tests.examples import examples

TYPES = st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"])


@settings(max_examples=examples(50), deadline=None)
@given(types=st.lists(TYPES, min_size=1, unique=True))
def test_types_are_kinds_and_back(types: list[str]) -> None:
    found = types_of(of_types(types))
    assert found is None or of_types(found) == of_types(types)
    assert of_types(types_of(KINDS - {"null"}) or []) == KINDS - {"null"}


@pytest.mark.parametrize("keyword", [name for name in KEYWORDS if name != "type"])
def test_no_keyword_that_asks_something_is_overlooked(keyword: str) -> None:
    """What `taken_whole` does not know would be an annotation to it."""
    arguments: dict[str, Any] = {
        "$ref": "#/$defs/a",
        "enum": [[7]],
        "const": [7],
        "allOf": [False],
        "anyOf": [False],
        "oneOf": [False],
        "not": True,
        "if": True,
        "prefixItems": [False],
        "items": False,
        "required": ["z"],
        "dependencies": {"a": False},
        "dependentRequired": {"a": ["z"]},
        "dependentSchemas": {"a": False},
        "properties": {"a": False},
        "patternProperties": {"a": False},
        "pattern": "z",
        "format": "uuid",
        "uniqueItems": True,
        "multipleOf": 7,
    }
    keywords = {
        keyword: arguments.get(keyword, 1 if "min" in keyword.lower() or "max" in keyword.lower() else False)
    }
    if keyword == "additionalItems":
        keywords["items"] = []
    if keyword == "if":
        keywords["then"] = False
    schema = {**keywords, "$defs": {"a": False}}
    assert taken_whole(schema, CheckedSchema(schema)) != KINDS
