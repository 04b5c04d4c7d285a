"""Grammars are tried out in a process of its own, within limits that are told apart."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import GenerationFailed, InvalidGrammar, NoFittingText, Overloaded, Unavailable
from inference.engine.generation import Completion
from inference.engine.grammar import trial
from inference.engine.grammar.check import SchemaCheck
from inference.engine.grammar.compiler import GrammarCompiler
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.turns import NICENESS
from inference.engine.request import SamplingParams
from tests.engine_requests import finish, request, submit
from tests.models import tiny_engine

pytestmark = pytest.mark.slow  # It starts processes.

SLOW = Grammar.of_schema(
    {"allOf": [{"type": "integer", "multipleOf": m} for m in (7, 11, 13, 17, 19, 23)]}, field="json_schema"
)
"""Takes seconds to compile."""
CONFIG = EngineConfig(kv_cache_tokens=2048, grammar_compile_s=0.5, grammar_bytes=2000)
GREEDY = SamplingParams(do_sample=False)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(CONFIG, eos_ids=(256,), start=False, own_trial=True)
    yield engine
    engine.stop()


@pytest.fixture
def grammars(engine: Engine) -> GrammarCompiler:
    return engine.grammars


def schema(value: Any) -> Grammar:
    return Grammar.of_schema(value, field="json_schema")


@pytest.mark.parametrize(
    "value",
    [
        {"type": "array", "minItems": 1.0, "maxItems": 2.0},
        {"type": "string", "minLength": 3.0, "maxLength": 4e0},
        {
            "type": "object",
            "minProperties": 1.0,
            "maxProperties": 3.0,
            "additionalProperties": {"type": "null"},
        },
        {"type": "integer", "multipleOf": 2.0, "minimum": 1.0},
        {"type": "array", "contains": {"const": 1}, "minContains": 1.0, "maxItems": 2.0},
    ],
)
def test_a_whole_number_may_be_written_as_a_fraction(grammars: GrammarCompiler, value: Any) -> None:
    grammars.compile(schema(value))


def test_the_memory_of_a_grammar_counts_though_its_fork_has_compiled_before(
    grammars: GrammarCompiler,
) -> None:
    def size(value: Any) -> int:
        with grammars._trial.attempt(schema(value)) as attempt:
            attempt.translation()
            attempt.wait_judged()
            return attempt.size()

    many = {"type": "object", "properties": {f"name {i}": {"type": "string"} for i in range(40)}}
    small, first, again = size({"const": 1}), size(many), size({**many, "$comment": "again"})
    assert 5000 < small < first / 2
    assert 0.8 * first < again < 1.25 * first


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"multipleOf": 0}, ".multipleOf", "minimum"),
        ({"minItems": 1.5}, ".minItems", "not of type"),
        ({"const": float("inf")}, "", "floating-point"),
        ({"anyOf": [{"$ref": "#"}, {"type": "integer"}]}, ".anyOf[0].$ref", "without end"),
        ({"$schema": "http://json-schema.org/draft-03/schema#"}, ".$schema", "draft 3"),
        ({"type": "string", "pattern": "^[a-z&&[^b]]$"}, ".pattern", "ambiguous"),
        ({"pattern": "^[a-z&&[^b]]$", "properties": {"a": {"format": "none"}}}, ".pattern", "ambiguous"),
        ({"$dynamicRef": "#a", "properties": {"a": {"minItems": "1"}}}, ".properties.a.minItems", "not of"),
        ({"const": "ü" * 1000}, "", "More than 2000 bytes"),
        ({"multipleOf": 1e-300}, "", "^Value for 'multipleOf' has too many digits"),
    ],
)
def test_what_cannot_be_enforced_or_checked_is_refused_by_its_place(
    grammars: GrammarCompiler, value: Any, place: str, reason: str
) -> None:
    with pytest.raises(InvalidGrammar, match=reason) as refused:
        grammars.compile(schema(value))
    assert refused.value.field == f"json_schema{place}"


def test_a_grammar_whose_texts_cannot_be_followed_is_refused_though_it_compiles(engine: Engine) -> None:
    grammars = GrammarCompiler(engine._tokenizer, EngineConfig(), eos_ids=(256,))
    many = schema({"type": "object", "properties": {f"p{i}": {} for i in range(600)}})
    try:
        with grammars._trial.attempt(many) as attempt:
            attempt.translation()
            attempt.wait_judged()
        for _ in range(2):  # it is not kept either
            with pytest.raises(InvalidGrammar, match="too complex to follow"):
                grammars.compile(many)
    finally:
        grammars.stop()


def test_compiling_leaves_the_processors_to_the_engine(grammars: GrammarCompiler) -> None:
    grammars.compile(Grammar("regex", "nice", "regex"))
    process = grammars._trial._process
    assert process is not None
    own = os.getpriority(os.PRIO_PROCESS, 0)
    compiling = [one.native_id for one in threading.enumerate() if one.name.startswith("grammar")]
    assert compiling
    for task in (process.pid, *compiling):
        assert task is not None
        assert os.getpriority(os.PRIO_PROCESS, task) == min(own + NICENESS, 19)


def test_a_limit_of_time_and_one_of_memory_are_told_apart(engine: Engine, grammars: GrammarCompiler) -> None:
    with pytest.raises(InvalidGrammar, match=r"more than 0\.5 s to compile"):
        grammars.compile(SLOW)
    little = replace(CONFIG, grammar_memory_mb=16, grammar_compile_s=30)
    small = GrammarCompiler(engine._tokenizer, little, eos_ids=(256,))
    try:
        with pytest.raises(InvalidGrammar, match="more than 16 MB to compile"):
            small.compile(SLOW)
        small.compile(schema({"type": "integer"}))
    finally:
        small.stop()


def test_a_busy_machine_is_no_verdict_on_a_grammar(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_LONGEST_WAIT", 0.01)
    grammars = GrammarCompiler(engine._tokenizer, replace(CONFIG, grammar_compile_s=20), eos_ids=(256,))
    try:
        with pytest.raises(Overloaded):
            grammars.compile(SLOW)
    finally:
        grammars.stop()


def test_a_failure_of_the_compiler_is_told_apart_and_logged(
    grammars: GrammarCompiler, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidGrammar, match="It cannot be compiled"):
        grammars.compile(Grammar("json_schema", '{"secret": ', "json_schema"))
    assert "JSONDecodeError" in caplog.text
    assert "secret" not in caplog.text


def test_the_process_is_started_again_after_its_end(grammars: GrammarCompiler) -> None:
    grammars.compile(Grammar("regex", "first", "regex"))
    process = grammars._trial._process
    assert process is not None
    process.kill()
    process.wait()
    try:
        grammars.compile(Grammar("regex", "second", "regex"))
    except Unavailable:
        grammars.compile(Grammar("regex", "third", "regex"))


def test_a_mask_that_fails_fails_its_own_request_alone(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = replace(request("Hi", new=8), grammar=Grammar("regex", "[0-9]{4}", "regex"))
    good, bad, plain = submit(engine, digits), submit(engine, digits), submit(engine, request("Hi", new=8))
    compute = engine.grammars.masks.compute
    broken = engine._scheduler.all()[1].constraint

    def failing(constraints: Any) -> None:
        if broken in constraints:
            raise RuntimeError("a bad matcher")
        compute(constraints)

    monkeypatch.setattr(engine.grammars.masks, "compute", failing)
    finish(engine)
    assert good.result().text.isdigit()
    assert isinstance(plain.outcome, Completion)
    with pytest.raises(GenerationFailed, match="cannot be followed"):
        bad.result()


def test_a_greedy_text_that_does_not_fit_is_drawn_once(engine: Engine) -> None:
    unfitting = schema({"type": "integer", "minimum": 1, "maximum": 1, "not": {"minimum": 1}})
    steps = {}
    for sampling in (GREEDY, SamplingParams(seed=1)):
        before = engine.work.steps
        one = submit(engine, replace(request("Hi", new=9), grammar=unfitting, sampling=sampling))
        finish(engine)
        steps[sampling.do_sample] = engine.work.steps - before
        with pytest.raises(NoFittingText):
            one.result()
    assert steps[True] == 8 * steps[False]


def test_a_text_that_only_the_check_refuses_is_no_failure_of_the_model(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SchemaCheck, "fits", lambda *_: False)
    one = submit(engine, replace(request("Hi", new=9), grammar=schema({"enum": [1]})))
    finish(engine)
    with pytest.raises(NoFittingText):
        one.result()
