"""Answers that call tools, held to the format and the schemas whatever the model would choose."""

import json
import random
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import InvalidGrammar
from inference.engine.grammar.calls import Calls
from inference.engine.tool_calls import Arguments, Call, Content, ToolCallReader
from inference.engine.tool_format import HERMES, LLAMA, MISTRAL, PLAIN, ToolFormat
from tests.models import tiny_engine

END = 256
SCHEMAS = {
    "find": {
        "type": "object",
        "properties": {"q": {"type": "string", "maxLength": 4}, "n": {"type": "integer"}},
        "required": ["q"],
        "additionalProperties": False,
    },
    "stop": {"type": "object", "properties": {}, "additionalProperties": False},
}
PATHS = ("[0].function.parameters", "[1].function.parameters")
# The tokenizer of bytes has one special token, which stands for the control token here.
FORMATS = {"hermes": HERMES, "llama": LLAMA, "mistral": replace(MISTRAL, control_id=END), "plain": PLAIN}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=256), start=False)
    yield engine
    engine.stop()


def written(engine: Engine, calls: Calls, *, seed: int, start: str = "") -> tuple[list[int], bool]:
    """Tokens chosen at random among those allowed, after those of `start`, and whether the text ended."""
    constraint = engine.grammars.compile(calls.grammar(field="tools")).constraint(
        end_ids=frozenset(), stops=False
    )
    draw = random.Random(seed)  # noqa: S311
    token_ids: list[int] = []
    for token_id in engine.encode(start):
        assert token_id in constraint.allowed(may_end=True)
        constraint.accept(token_id)
        token_ids.append(token_id)
    for _ in range(600):
        allowed = constraint.allowed(may_end=True)
        if not len(allowed):
            return token_ids, True
        token_ids.append(int(draw.choice(list(allowed))))
        constraint.accept(token_ids[-1])
    return token_ids, False


def text_of(engine: Engine, token_ids: list[int]) -> str:
    shown = (engine.token_bytes(token_id) for token_id in token_ids if token_id != END)
    return b"".join(shown).decode(errors="replace")


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), several=st.booleans())
def test_required_calls_name_a_tool_and_fit_its_schema(
    engine: Engine, name: str, seed: int, several: bool
) -> None:
    form: ToolFormat = FORMATS[name]
    calls = Calls(tool_format=form, arguments=SCHEMAS, paths=PATHS, required=True, several=several)
    token_ids, ended = written(engine, calls, seed=seed)
    assert (token_ids[0] == END) == (form.control_id is not None)
    parts = list(ToolCallReader(form, required=True).feed(text_of(engine, token_ids)))
    names = [part.name for part in parts if isinstance(part, Call)]
    assert names
    assert several or len(names) == 1
    for index, called in enumerate(names):
        text = "".join(part.text for part in parts if isinstance(part, Arguments) and part.index == index)
        if ended or index < len(names) - 1:
            Draft202012Validator(SCHEMAS[called]).validate(json.loads(text))


@pytest.mark.parametrize(
    ("name", "start"),
    [("hermes", "Let me see.\n<tool_call>"), ("llama", '{"name": "')],
)
@pytest.mark.parametrize("seed", range(3))
def test_an_answer_that_begins_a_call_has_to_finish_it(
    engine: Engine, name: str, start: str, seed: int
) -> None:
    form: ToolFormat = FORMATS[name]
    calls = Calls(tool_format=form, arguments=SCHEMAS, paths=PATHS, required=False, several=False)
    token_ids, ended = written(engine, calls, seed=seed, start=start)
    parts = list(ToolCallReader(form, required=False).feed(text_of(engine, token_ids)))
    [call] = [part for part in parts if isinstance(part, Call)]
    text = "".join(part.text for part in parts if isinstance(part, Arguments))
    assert ended
    Draft202012Validator(SCHEMAS[call.name]).validate(json.loads(text))
    assert (
        "".join(part.text for part in parts if isinstance(part, Content)) == start.split("<")[0].split("{")[0]
    )


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral"])
def test_an_answer_may_be_text_if_no_call_is_required(engine: Engine, name: str) -> None:
    calls = Calls(tool_format=FORMATS[name], arguments=SCHEMAS, paths=PATHS, required=False, several=True)
    constraint = engine.grammars.compile(calls.grammar(field="tools")).constraint(
        end_ids=frozenset(), stops=False
    )
    for token_id in engine.encode("Hello { <tool_cal"):
        assert token_id in constraint.allowed(may_end=True)
        constraint.accept(token_id)


def test_a_schema_that_cannot_be_enforced_is_refused_by_its_place(engine: Engine) -> None:
    hostile = {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)b"}}}
    calls = Calls(
        tool_format=PLAIN,
        arguments={**SCHEMAS, "bad": hostile},
        paths=[*PATHS, "[7].parameters"],
        required=True,
        several=False,
    )
    with pytest.raises(InvalidGrammar, match=r"\$\[7\]\.parameters\.properties\.a\.pattern.*look-ahead"):
        engine.grammars.compile(calls.grammar(field="tools"))


def test_what_a_grammar_cannot_say_is_checked_at_the_end(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"required": ["a"]}}
    calls = Calls(tool_format=PLAIN, arguments={"f": schema}, paths=["[0]"], required=True, several=False)
    constraint = engine.grammars.compile(calls.grammar(field="tools")).constraint(
        end_ids=frozenset(), stops=False
    )
    assert constraint.provisional
    assert constraint.fits('{"name": "f", "arguments": {}}')
    assert not constraint.fits('{"name": "f", "arguments": {"a": 1}}')
