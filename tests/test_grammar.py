"""What a text is held to: whatever is drawn, a finished text fits, and what cannot be enforced is refused."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import InvalidGrammar, NoFittingText
from inference.engine.generation import Completion
from inference.engine.grammar.paths import SchemaRefused
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import translate
from inference.engine.request import GenerationRequest, SamplingParams
from tests.engine_requests import alone, finish, request, submit
from tests.examples import examples
from tests.models import byte_tokenizer, tiny_engine

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]{1,6}$"},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "born": {"type": "string", "format": "date"},
        "tags": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 1, "maxItems": 2},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
CONFIG = EngineConfig(kv_cache_tokens=8192, max_queued=32, grammar_compile_s=1.0)
BYTE_B = byte_tokenizer().convert_tokens_to_ids("b")
UNIQUE = {"type": "array", "items": {"enum": [1, 2, 3]}, "minItems": 2, "maxItems": 2, "uniqueItems": True}


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(CONFIG, eos_ids=(256,), start=False)
    yield engine
    engine.stop()


def schema(value: Any) -> Grammar:
    return Grammar.of_schema(value, field="json_schema")


def constrained(grammar: Grammar, *, new: int = 220, **more: Any) -> GenerationRequest:
    return replace(request("Hi", new=new), grammar=grammar, **more)


def completion(engine: Engine, one: GenerationRequest) -> Completion:
    generation = submit(engine, one)
    finish(engine)
    return generation.result()


@settings(
    max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, 2**31),
    st.sampled_from([PERSON, UNIQUE, {"type": "string", "format": "date-time"}, {"enum": ["x", 2, None]}]),
    st.floats(0.1, 2.0),
    st.integers(0, 60),
    st.floats(0.3, 1.0),
)
def test_a_finished_text_parses_and_validates_however_it_is_sampled(
    engine: Engine, seed: int, value: Any, temperature: float, top_k: int, top_p: float
) -> None:
    sampling = SamplingParams(
        seed=seed, temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=1.2,
        logit_bias=((ord("!") - 33, 50.0),),
    )  # fmt: skip
    generation = submit(engine, constrained(schema(value), sampling=sampling))
    finish(engine)
    if isinstance(generation.outcome, NoFittingText):
        return
    done = generation.result()
    if done.finish_reason == "stop":
        Draft202012Validator(value, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(
            json.loads(done.text)
        )
    else:
        assert done.completion_tokens == 220


def test_the_same_seed_gives_the_same_text_alone_and_in_a_batch(engine: Engine) -> None:
    requests = [
        constrained(schema(value), sampling=SamplingParams(seed=seed))
        for seed in range(2)
        for value in (PERSON, UNIQUE)
    ]
    generations = [submit(engine, one) for one in requests]
    plain = submit(engine, request("Hello", seed=9))
    finish(engine)
    assert [one.result().text for one in generations] == [completion(engine, one).text for one in requests]
    assert plain.result().text == alone(request("Hello", seed=9))


def test_a_text_that_is_cut_says_so(engine: Engine) -> None:
    assert completion(engine, constrained(schema(PERSON), new=5)).finish_reason == "length"


@pytest.mark.parametrize(
    ("grammar", "fits"),
    [
        (Grammar("regex", "[ab]{3}", "regex"), lambda text: len(text) == 3 and set(text) <= {"a", "b"}),
        (Grammar.of_choices(["yes", 'n"o'], field="choice"), lambda text: text in {"yes", 'n"o'}),
        (Grammar("grammar", 'start: "a" NUMBER\nNUMBER: /[0-9]{2}/', "grammar"), lambda text: len(text) == 3),
        (Grammar("grammar", 'root ::= "x" [0-9] "y"', "grammar"), lambda text: text[::2] == "xy"),
        (Grammar("json_schema", "true", "json"), json.loads),
    ],
)
def test_every_kind_of_grammar_holds(engine: Engine, grammar: Grammar, fits: Any) -> None:
    done = completion(engine, constrained(grammar))
    assert done.finish_reason == "length" or fits(done.text) is not False


def test_a_grammar_that_is_complete_ends_the_text_before_min_tokens(engine: Engine) -> None:
    done = completion(engine, constrained(Grammar("regex", "ab", "regex"), min_tokens=50))
    assert (done.text, done.finish_reason) == ("ab", "stop")


def test_nothing_ends_a_text_where_the_grammar_does_not(engine: Engine) -> None:
    grammar = Grammar("regex", "ab{3}c?b*", "regex")
    done = completion(engine, constrained(grammar, stop=("b",), stop_token_ids=(BYTE_B,), ignore_eos=True))
    assert done.text in {"abbb", "abbbc"}
    whole = Grammar("regex", "xx;x", "regex")
    assert completion(engine, constrained(whole, stop=(";",))).text == "xx;x"


def test_a_text_is_drawn_again_until_it_fits(engine: Engine) -> None:
    generations = [
        submit(engine, constrained(schema(UNIQUE), sampling=SamplingParams(seed=seed))) for seed in range(16)
    ]
    finish(engine)
    texts = [one.outcome.text for one in generations if isinstance(one.outcome, Completion)]
    assert len(texts) > 8
    assert all(len(set(json.loads(text))) == 2 for text in texts)


def test_a_text_that_cannot_fit_is_an_error_and_streams_nothing(engine: Engine) -> None:
    value = {
        "type": "array", "items": {"const": 1}, "minItems": 2, "maxItems": 2,
        "if": {"minItems": 2}, "then": {"maxItems": 1},
    }  # fmt: skip
    generation = submit(engine, constrained(schema(value)))
    finish(engine)
    assert generation.events_from(0) == []
    with pytest.raises(NoFittingText, match="uniqueItems"):
        generation.result()
    # Those of the last text alone, which is "[1,1]" with white space or without.
    assert 5 <= generation.completion_tokens < 200


def test_a_text_that_is_held_back_counts_its_tokens_when_it_is_cancelled(engine: Engine) -> None:
    generation = submit(engine, constrained(schema({"type": "array", "uniqueItems": True, "minItems": 200})))
    for _ in range(6):
        engine.step()
    generation.cancel()
    finish(engine)
    assert generation.events_from(0) == []
    assert generation.completion_tokens == 6


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"properties": {"a": {"pattern": "(?=a)b"}}}, ".properties.a.pattern", "look-ahead"),
        ({"properties": {"a": {"pattern": "(?<=a)b"}}}, ".properties.a.pattern", "look-behind"),
        ({"items": {"pattern": r"(a)\1"}}, ".items.pattern", "back-references"),
        ({"properties": {"a b": {"format": "iri", "type": "string"}}}, '.properties["a b"].format', "“iri”"),
        ({"anyOf": [{}, {"$dynamicRef": "#x"}]}, ".anyOf[1].$dynamicRef", "not supported"),
        ({"properties": {"a": {"$ref": "https://example.com/s"}}}, ".properties.a.$ref", "other documents"),
        ({"properties": {"a": {"minLength": "x"}}}, ".properties.a.minLength", "not of type"),
        ({"properties": {"a": False}, "required": ["a"], "type": "object"}, ".properties.a", "no text"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "", "No text satisfies"),
        ({"$ref": "#"}, "", "without end"),
        (
            {"$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}, "minItems": 1}},
             "$ref": "#/$defs/a"},
            "", "without end",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_refused_by_its_place(
    engine: Engine, value: Any, place: str, reason: str
) -> None:
    with pytest.raises(InvalidGrammar, match=reason) as refused:
        engine.prepare(constrained(schema(value)))
    assert refused.value.field == f"json_schema{place}"


def nested(depth: int) -> Any:
    value: Any = {"type": "string"}
    for _ in range(depth):
        value = {"oneOf": [{"properties": {"a": value}, "required": ["a"]}, {"properties": {"b": value}}]}
    return value


HOSTILE = {
    "enum": schema({"enum": [f"value {i * 7919}" for i in range(100_000)]}),
    "enum within bytes": schema({"enum": [f"v{i * 7919 % 9973}" for i in range(9000)]}),
    "nested oneOf": schema(nested(9)),
    "deep": schema({"properties": {"a": json.loads('{"items":' * 90 + "{}" + "}" * 90)}}),
    "cycle": schema({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}),
    "pattern": schema({"type": "string", "pattern": "(.{0,1000}a.{0,1000}b){100}c"}),
    "minLength": schema({"type": "string", "minLength": 10**9}),
    "literal": schema({"const": "x" * 200_000}),
    "megabyte": schema({"description": "x" * 2**20}),
    "multiples": schema({"allOf": [{"type": "integer", "multipleOf": m} for m in (7, 11, 13, 17, 19, 23)]}),
    "ambiguous": Grammar("grammar", 'start: s\ns: s s | s s s | "a" |', "grammar"),
    "parentheses": Grammar("regex", "(" * 50_000 + "a" + ")" * 50_000, "regex"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_grammar_is_answered_in_time_and_the_next_one_waits_for_nothing(
    engine: Engine, name: str
) -> None:
    engine.prepare(constrained(Grammar("regex", "x", "regex")))
    began = time.monotonic()
    try:
        generation = submit(engine, constrained(HOSTILE[name], new=12))
    except InvalidGrammar as error:
        assert len(str(error)) < 500  # noqa: PT017
    else:
        finish(engine)
        assert generation.done
    assert time.monotonic() - began < 10
    began = time.monotonic()
    engine.prepare(constrained(Grammar("regex", f"[{name}]+", "regex")))
    assert time.monotonic() - began < 2


def test_a_first_text_that_ends_at_once_does_not_pass_a_grammar() -> None:
    table = TokenTable([*(bytes([one]) for one in range(256)), b"{}"], ())
    many = schema({"type": "object", "properties": {f"p{i}": {} for i in range(600)}})
    with pytest.raises(SchemaRefused, match="too complex to follow"):
        translate(many, table, nesting=8, states=CONFIG.grammar_states)
