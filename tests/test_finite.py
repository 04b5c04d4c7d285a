"""A JSON text has no number that a client would read as infinity, whichever tokens write it."""

import random
from functools import partial
from typing import Any

import pytest

from inference.engine.config import EngineConfig
from inference.engine.grammar.calls import Calls
from inference.engine.grammar.compiler import CompiledGrammar, FinalCheck
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import compile_matcher, translate
from inference.engine.tool_format import HERMES

LONGER = (b"e9", b"E99", b"e+99", b"999", b"000", b"0" * 60, b"[1e999", b"7e400", b".5e3", b'": 1E')
TABLE = TokenTable([*(bytes([one]) for one in range(256)), *LONGER], ())
CONFIG = EngineConfig()
DIGITS = frozenset(one for one, token in enumerate(TABLE.tokens) if token.isdigit())
EXPONENTS = DIGITS | frozenset(b"eE+") | set(range(256, len(TABLE.tokens)))
NUMBERS = {"type": "array", "items": {"type": "number"}, "maxItems": 3}


def compiled(grammar: Grammar) -> CompiledGrammar:
    states, nesting = CONFIG.grammar_states, CONFIG.grammar_nesting
    translation = translate(grammar, TABLE, nesting=nesting, states=states)
    compiling = partial(compile_matcher, states=states)
    matcher = compiling(translation.grammar, TABLE.llguidance)
    return CompiledGrammar(translation, matcher, FinalCheck.of(grammar), TABLE, compiling)


def of_schema(schema: Any) -> Grammar:
    return Grammar.of_schema(schema, field="json_schema")


def of_calls(**more: Any) -> Grammar:
    tool = {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}
    return Calls(tool_format=HERMES, arguments={"add": tool}, paths=["[0]"], several=False, **more).grammar(
        field="tools"
    )


@pytest.mark.parametrize(
    "grammar",
    [
        of_schema({"type": "number"}),
        of_schema({"type": "integer"}),
        of_schema({"type": "number", "minimum": 0}),
        of_schema({"type": "number", "maximum": 0, "multipleOf": 5}),
        of_schema(NUMBERS),
        of_schema({}),
        Grammar.of_objects(field="json_object"),
        of_calls(required=True),
        of_calls(required=False, text=of_schema(NUMBERS)),
    ],
    ids=lambda grammar: grammar.source[:40],
)
def test_no_number_is_too_large(grammar: Grammar) -> None:
    for_texts = compiled(grammar)
    for seed in range(6):
        draw = random.Random(seed)  # noqa: S311
        constraint = for_texts.constraint(end_ids=frozenset(), stops=False)
        written = b""
        while len(allowed := constraint.allowed(may_end=True).ids) and not (
            len(written) > 700 and constraint.may_end
        ):
            # Digits for a while; then what leads to an end.
            wanted = (DIGITS, EXPONENTS)[seed % 2] if len(written) < 700 else frozenset(b'"}]:,n')
            token_id = int(draw.choice([one for one in allowed if one in wanted] or list(allowed)))
            constraint.accept(token_id)
            written += TABLE.tokens[token_id]
            assert len(written) < 5000
        assert constraint.fits(written.decode()), written


def test_large_numbers_may_come_up_to_the_largest() -> None:
    constraint = compiled(of_schema({"type": "number"})).constraint(end_ids=frozenset(), stops=False)
    for character in b"-1.7976931348623157e308":
        assert character in constraint.allowed(may_end=True)
        constraint.accept(character)
    assert constraint.may_end or not constraint.allowed(may_end=True)


@pytest.mark.parametrize(
    ("grammar", "text"),
    [
        (of_schema({"type": "string"}), '"\\"5E999, 5E999"'),
        (of_schema({"enum": ["1e999"]}), '"1e999"'),
        (of_schema({"properties": {"7e400": {}}}), '{"7e400": "7e400"}'),
        (of_calls(required=False), "Is [1e999 a number, or 5E999?"),
    ],
)
def test_a_text_that_is_no_number_may_look_like_a_large_one(grammar: Grammar, text: str) -> None:
    constraint = compiled(grammar).constraint(end_ids=frozenset(), stops=False)
    for byte in text.encode():
        assert byte in constraint.allowed(may_end=True)
        constraint.accept(byte)
    assert constraint.fits(text)
