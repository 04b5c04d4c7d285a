"""Answers that call tools, held to the format and the schemas whatever the model would choose."""

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import InvalidGrammar
from inference.engine.grammar.calls import Calls
from inference.engine.grammar.constraint import Constraint
from inference.engine.grammar.source import Grammar
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
FORMATS = {
    "hermes": HERMES,
    "llama": LLAMA,
    "mistral": replace(MISTRAL, control_id=END),
    "shown": replace(MISTRAL, control="", begin="[TOOL_CALLS][", trigger="[TOOL_CALLS]"),
    "plain": PLAIN,
}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=256), start=False)
    yield engine
    engine.stop()


def constraint_of(engine: Engine, calls: Calls) -> Constraint:
    return engine.grammars.compile(calls.grammar(field="tools")).constraint(end_ids=frozenset(), stops=False)


def written(engine: Engine, calls: Calls, *, seed: int, start: Sequence[int] = ()) -> tuple[list[int], bool]:
    """Tokens chosen at random among those allowed, after those of `start`, and whether the text ended."""
    constraint = constraint_of(engine, calls)
    draw = random.Random(seed)  # noqa: S311
    token_ids: list[int] = []
    for token_id in start:
        assert token_id in constraint.allowed(may_end=True)
        constraint.accept(token_id)
        token_ids.append(token_id)
    for _ in range(600):
        allowed = constraint.allowed(may_end=True)
        if not allowed:
            return token_ids, True
        token_ids.append(int(draw.choice(list(allowed.ids))))
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
    token_ids, ended = written(engine, calls, seed=seed, start=engine.encode(start))
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
    constraint = constraint_of(engine, calls)
    for token_id in engine.encode("Hello { <tool_cal"):
        assert token_id in constraint.allowed(may_end=True)
        constraint.accept(token_id)


TEXTS = {
    "json": Grammar.of_schema({"type": "object", "properties": {"name": {"enum": ["find", "é"]}},
                               "required": ["name"], "additionalProperties": False}, field="format"),
    "checked": Grammar.of_schema({"type": "array", "items": {"enum": [1, 2]}, "minItems": 2, "maxItems": 2,
                                  "uniqueItems": True}, field="format"),
    "regex": Grammar("regex", "[ab{]{1,9}", "format"),
    "choice": Grammar.of_choices(["yes", "no", "<tool_call>"], field="format"),
    "grammar": Grammar("grammar", 'start: call+\ncall: "a" | "b"', "format"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["hermes", "llama", "mistral", "shown"])
@pytest.mark.parametrize("kind", TEXTS)
@settings(max_examples=6, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), called=st.booleans())
def test_an_answer_without_calls_fits_what_was_asked_for(
    engine: Engine, name: str, kind: str, seed: int, called: bool
) -> None:
    form: ToolFormat = FORMATS[name]
    calls = Calls(
        tool_format=form, arguments=SCHEMAS, paths=PATHS, required=False, several=False, text=TEXTS[kind]
    )
    begun = f"{form.begin}{form.opening}find{form.middle}" if called else ""
    start = [END] * (called and form.control_id is not None) + list(engine.encode(begun) if begun else ())
    constraint = constraint_of(engine, calls)
    token_ids, ended = written(engine, calls, seed=seed, start=start)
    if not ended:
        return
    text = text_of(engine, token_ids)
    reader = calls.reader()
    if END in token_ids:
        reader.begin_calls()
        constraint.accept(END)
    parts = [*reader.feed(text), *reader.finish()]
    if any(isinstance(part, Call) for part in parts):
        arguments = "".join(part.text for part in parts if isinstance(part, Arguments))
        assert constraint.fits(text)
        Draft202012Validator(SCHEMAS[parts[0].name]).validate(json.loads(arguments))  # type: ignore[union-attr]
    else:
        assert not called
        assert parts == [Content(text)]
        alone = engine.grammars.compile(TEXTS[kind]).constraint(end_ids=frozenset(), stops=True)
        assert alone.acceptor is not None
        assert alone.acceptor.may_end(text)
        assert constraint.fits(text) == alone.fits(text)
    assert constraint.provisional == (kind == "checked")


def test_a_text_that_may_begin_as_a_call_does_is_checked_as_one(engine: Engine) -> None:
    text = {"type": "object", "properties": {"name": {}, "parameters": {}}}
    constraint = constraint_of(
        engine,
        Calls(
            tool_format=LLAMA, arguments=SCHEMAS, paths=PATHS, required=False, several=False,
            text=Grammar.of_schema(text, field="format"),
        ),
    )  # fmt: skip
    assert constraint.provisional
    assert constraint.fits('{"name": "find", "parameters": {"q": "a"}}')
    assert constraint.fits('{"name": "other", "parameters": 1}')
    assert not constraint.fits('{"name": "find", "parameters": 1}')
    assert not constraint.fits('{"name": "find", "parameters": {"q": "a"}, "more": 1}')


def test_a_text_that_cannot_be_enforced_is_refused_by_its_own_field(engine: Engine) -> None:
    hostile = Grammar.of_schema({"items": {"pattern": "(?=a)b"}}, field="response_format")
    calls = Calls(
        tool_format=HERMES, arguments=SCHEMAS, paths=PATHS, required=False, several=False, text=hostile
    )
    with pytest.raises(InvalidGrammar, match="look-ahead") as refused:
        engine.grammars.compile(calls.grammar(field="tools"))
    assert refused.value.field == "response_format.items.pattern"


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
    constraint = constraint_of(engine, calls)
    assert constraint.provisional
    assert constraint.fits('{"name": "f", "arguments": {}}')
    assert not constraint.fits('{"name": "f", "arguments": {"a": 1}}')


def test_the_complete_calls_of_a_cut_answer_fit(engine: Engine) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "not": {"required": ["a"]}}
    calls = Calls(tool_format=PLAIN, arguments={"f": schema}, paths=["[0]"], required=True, several=True)
    constraint = constraint_of(engine, calls)
    fitting, other = '{"name": "f", "arguments": {}}', '{"name": "f", "arguments": {"a": 1}}'
    for text in ("", fitting, f"{fitting}\n{other[:-2]}", '{"name": "f'):
        assert constraint.fits(text, cut=True)
    for text in (other, other[:-1], f"{other}\n{fitting}", f'{other}\n{{"name": "f'):
        assert not constraint.fits(text, cut=True)
