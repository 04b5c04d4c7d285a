"""Several tokens of a text in one step: fewer steps, and the same texts to the last bit."""

from collections.abc import Iterator
from typing import Any

import pytest

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.generation import Completion, Event
from inference.engine.grammar.source import Grammar
from inference.engine.load import Work
from inference.engine.request import GenerationRequest, SamplingParams
from tests.engine_requests import request
from tests.models import tiny_engine

LITERAL = Grammar("regex", r"hello (world|moon)x{30}[0-9]+: the end", "regex")
SCHEMA = Grammar(
    "json_schema",
    '{"type": "object", "properties": {"name": {"enum": ["one", "two"]}, "number": {"oneOf": '
    '[{"type": "integer", "maximum": 40}, {"type": "integer", "minimum": 30}]}}, '
    '"required": ["name", "number"], "additionalProperties": false}',
    "json_schema",
)


@pytest.fixture(scope="module")
def plain() -> Iterator[Engine]:
    """An engine that computes one token of a text in each step."""
    engine = tiny_engine(EngineConfig(kv_cache_tokens=4096, speculation="off"), start=False)
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def speculative() -> Iterator[Engine]:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=4096), start=False)
    yield engine
    engine.stop()


Outcome = tuple[Completion, list[Event]]


def computed(engine: Engine, requests: list[GenerationRequest]) -> tuple[list[Outcome], Work]:
    """What each of the requests gets, run together, and what that has taken."""
    before = engine.work
    generations = [engine.submit(engine.prepare(one)) for one in requests]
    while engine.step():
        pass
    after = engine.work
    assert engine.load.kv_tokens_used == 0
    work = {name: getattr(after, name) - getattr(before, name) for name in Work.__dataclass_fields__}
    return [(one.result(), one.events_from(0)) for one in generations], Work(**work)


FORCED: list[dict[str, Any]] = [
    {"grammar": LITERAL},
    {"grammar": LITERAL, "new": 24},
    {"grammar": LITERAL, "stop": ("xx", " the ")},
    {"grammar": LITERAL, "min_tokens": 40, "stop_token_ids": (ord("x") - 33,)},
    {"grammar": SCHEMA},
    {"grammar": LITERAL, "sampling": SamplingParams(do_sample=False, repetition_penalty=1.3)},
    {"grammar": LITERAL, "sampling": SamplingParams(seed=5, temperature=1.5, presence_penalty=1.0)},
]


@pytest.mark.parametrize("logprobs", [None, 2])
def test_tokens_that_a_grammar_forces_need_no_steps_and_change_nothing(
    plain: Engine, speculative: Engine, logprobs: int | None
) -> None:
    requests = [
        request(seed=seed, **{"new": 70, **fields}, logprobs=logprobs, prompt_logprobs=logprobs)
        if "sampling" not in fields
        else request(**{"new": 70, **fields}, logprobs=logprobs)
        for seed, fields in enumerate(FORCED)
    ]
    expected, one_by_one = computed(plain, requests)
    outcomes, together = computed(speculative, requests)
    assert outcomes == expected
    assert together.completion_tokens == one_by_one.completion_tokens
    assert together.segments < 0.5 * one_by_one.segments


def test_a_text_alone_has_a_step_for_each_choice_and_every_eight_forced_tokens(
    plain: Engine, speculative: Engine
) -> None:
    choice = Grammar("choice", '["one way to say it", "two ways"]', "choice")
    for engine, steps in ((plain, 17), (speculative, 2)):
        [(completion, _)], work = computed(
            engine, [request(grammar=choice, sampling=SamplingParams(logit_bias=((ord("o") - 33, 100.0),)))]
        )
        assert completion.text == "one way to say it"
        assert work.steps == steps
