"""Requests that could not be complete in time are refused while nothing has been computed for them."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from inference.engine.config import EngineConfig, Speculation
from inference.engine.engine import Engine
from inference.engine.errors import Overloaded
from inference.engine.generation import Completion, Generation
from inference.engine.request import GenerationRequest
from inference.engine.segment import Segment
from tests.clock import Clock
from tests.test_scheduler import GREEDY, Counting, Letters

PROMPT = tuple(range(8)) * 6
TOKEN_S = 0.1


class Slow(Counting):
    """Each token takes a tenth of a second on a clock of its own."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, segments: list[Segment]) -> Any:
        self.clock.now += TOKEN_S * sum(len(segment.token_ids) for segment in segments)
        return super().forward(segments)


class SlowSteps(Counting):
    """Each step takes a tenth of a second, whatever it computes."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def forward(self, segments: list[Segment]) -> Any:
        self.clock.now += TOKEN_S
        return super().forward(segments)


@pytest.fixture(autouse=True)
def few_tokens_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.engine.step_times.KNOWN_AFTER", 1)


@pytest.fixture
def clock() -> Clock:
    return Clock(now=100.0)


@pytest.fixture
def engine(clock: Clock) -> Engine:
    config = replace(EngineConfig(max_running=2), max_queued=64, prefill_tokens=16, prefix_cache="off")
    return Engine(Slow(clock), Letters(), config, clock=clock)


def submit(engine: Engine, *, seconds: float | None = 20.0, owner: str = "a", new: int = 2) -> Generation:
    asked = GenerationRequest(
        prompt=PROMPT, sampling=GREEDY, max_new_tokens=new, owner=owner, timeout_s=seconds
    )
    return engine.submit(engine.prepare(asked))


def until_refused(engine: Engine, *, owner: str = "a") -> Overloaded:
    """Submit requests until one is refused."""
    for _ in range(9):
        try:
            submit(engine, owner=owner)
        except Overloaded as refused:
            return refused
    raise AssertionError("None was refused.")


def run(engine: Engine) -> None:
    while engine.step():
        pass


def outcomes(generations: list[Generation]) -> list[type]:
    return [type(one.outcome) for one in generations]


def test_the_first_requests_teach_and_those_that_would_be_late_are_refused_soon(
    engine: Engine, clock: Clock
) -> None:
    # Each takes 5 s, so four are in time.
    asked = [submit(engine) for _ in range(10)]
    for _ in range(3):
        engine.step()
    refused = [one for one in asked if one.done]
    assert clock.now < 110
    assert outcomes(refused) == [Overloaded] * len(refused)
    run(engine)
    assert outcomes(asked).count(Completion) + len(refused) == len(asked)
    assert 3 <= outcomes(asked).count(Completion) <= 4


def test_one_that_would_be_late_is_refused_at_once_and_told_when_it_would_not(engine: Engine) -> None:
    run_one = submit(engine)
    run(engine)
    assert isinstance(run_one.outcome, Completion)
    accepted = [submit(engine) for _ in range(3)]
    # What is ahead of it takes so much longer than it may.
    assert 1 <= until_refused(engine).retry_after_s <= 6
    run(engine)
    assert set(outcomes(accepted)) == {Completion}


def test_who_comes_back_when_told_is_admitted(engine: Engine, clock: Clock) -> None:
    submit(engine)
    run(engine)
    back_at = clock.now + until_refused(engine).retry_after_s
    while clock.now < back_at:
        engine.step()
    last = submit(engine)
    run(engine)
    assert isinstance(last.outcome, Completion)


def test_another_owner_s_request_is_before_those_of_one_who_has_many(engine: Engine) -> None:
    submit(engine)
    run(engine)
    until_refused(engine, owner="many")
    few = submit(engine, owner="few")
    run(engine)
    assert isinstance(few.outcome, Completion)


def test_a_request_alone_is_tried_whatever_the_forecast_says(engine: Engine) -> None:
    submit(engine)
    run(engine)
    assert not submit(engine, seconds=1.0).done


def test_after_an_idle_time_the_forecast_refuses_nobody(engine: Engine, clock: Clock) -> None:
    """A request for two texts would be refused for ever, although the machine is fast again."""
    submit(engine, seconds=6.0)
    run(engine)
    submit(engine, seconds=6.0).cancel()
    with pytest.raises(Overloaded):
        submit(engine, seconds=6.0)
    run(engine)
    clock.now += 30
    assert not any(submit(engine, seconds=6.0).done for _ in range(2))


def test_a_request_without_a_limit_waits(engine: Engine) -> None:
    submit(engine)
    run(engine)
    asked = [submit(engine, seconds=None) for _ in range(9)]
    run(engine)
    assert set(outcomes(asked)) == {Completion}


def test_max_new_tokens_alone_refuse_nobody(engine: Engine) -> None:
    """Clients ask for many tokens, and texts end sooner."""
    for _ in range(3):
        submit(engine, new=2)
        run(engine)
    submit(engine, new=8)
    submit(engine, new=8)


def test_prompts_that_share_their_beginning_are_counted_once(clock: Clock) -> None:
    engine = Engine(Slow(clock), Letters(), EngineConfig(max_running=2), clock=clock)
    submit(engine)
    run(engine)
    asked = [submit(engine, seconds=20.0) for _ in range(8)]
    run(engine)
    assert set(outcomes(asked)) == {Completion}


@pytest.mark.parametrize(("speculation", "in_time"), [("auto", 8), ("off", 6)])
def test_texts_that_get_several_tokens_in_a_step_are_expected_sooner(
    clock: Clock, speculation: Speculation, in_time: int
) -> None:
    config = EngineConfig(max_running=2, prefill_tokens=16, prefix_cache="off", speculation=speculation)
    engine = Engine(SlowSteps(clock), Letters(), config, clock=clock)
    for _ in range(8):
        submit(engine, new=16)
        run(engine)
    asked = []
    for _ in range(8):
        with suppress(Overloaded):
            asked.append(submit(engine, seconds=7.0, new=16))
    run(engine)
    assert outcomes(asked).count(Completion) == in_time
