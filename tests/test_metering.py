"""What a generation costs its key, exact to the token, however it ends; with a real, tiny engine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from accounts import services
from accounts.limits.policy import LimitExceeded
from accounts.models import APIKey, DailyUsage, Reservation
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    Overloaded,
    PromptTooLong,
    Unavailable,
)
from inference.engine.generation import Generation
from inference.engine.request import GenerationRequest, SamplingParams
from inference.metering import Metered
from tests.clock import Clock
from tests.metering import PROMPT_TOKENS, account, request
from tests.models import CONTEXT_LENGTH, tiny_engine

pytestmark = pytest.mark.django_db


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock: Clock) -> Engine:
    """An engine that takes a step when it is told to."""
    return tiny_engine(
        EngineConfig(kv_cache_tokens=1024, max_running=1, max_queued=1), start=False, clock=clock
    )


@pytest.fixture
def running_engine() -> Iterator[Engine]:
    engine = tiny_engine()
    yield engine
    engine.stop()


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", limits={"tokens_per_day": 10_000}).key


def steps(engine: Engine, count: int) -> None:
    for _ in range(count):
        assert engine.step()


@contextmanager
def metered(key: APIKey, engine: Engine, request: GenerationRequest) -> Iterator[Generation]:
    with Metered(key=key, backend=engine, requests=[request]).admit() as one:
        yield one.generations[0]


def generate(key: APIKey, engine: Engine, meanwhile: Callable[[Generation], None]) -> None:
    """Ask for a text as a view does, with what happens before its end."""
    with metered(key, engine, request(timeout_s=10)) as generation:
        meanwhile(generation)
        generation.result()


def test_a_finished_generation_costs_what_it_used_and_no_more_than_that(engine: Engine, key: APIKey) -> None:
    with metered(key, engine, request(8)) as generation:
        assert Reservation.objects.get().tokens == PROMPT_TOKENS + 8
        steps(engine, 8)
        assert generation.result().completion_tokens == 8
    assert account() == ("finished", PROMPT_TOKENS, 8)


def test_one_that_runs_into_its_deadline_costs_what_was_generated_until_then(
    engine: Engine, key: APIKey, clock: Clock
) -> None:
    def meanwhile(generation: Generation) -> None:
        steps(engine, 3)
        clock.now = 10
        engine.step()

    with pytest.raises(DeadlineExceeded):
        generate(key, engine, meanwhile)
    assert account() == ("timed_out", PROMPT_TOKENS, 3)


def test_one_that_times_out_in_the_queue_costs_no_tokens(engine: Engine, key: APIKey, clock: Clock) -> None:
    other = engine.submit(engine.prepare(request()))
    engine.step()

    def meanwhile(generation: Generation) -> None:
        engine.step()
        clock.now = 10
        engine.step()

    with pytest.raises(DeadlineExceeded):
        generate(key, engine, meanwhile)
    assert other.completion_tokens
    assert account() == ("timed_out", 0, 0)


def test_one_that_times_out_within_its_prompt_costs_the_part_that_was_computed(
    key: APIKey, clock: Clock
) -> None:
    config = EngineConfig(kv_cache_tokens=1024, prefill_tokens=16)
    engine = tiny_engine(config, start=False, clock=clock)
    long = replace(request(timeout_s=10), prompt=tuple(range(40)))
    with metered(key, engine, long):
        steps(engine, 2)
        clock.now = 10
        engine.step()
    assert account() == ("timed_out", 32, 0)


def test_a_cancelled_one_costs_what_was_generated_until_then(engine: Engine, key: APIKey) -> None:
    def meanwhile(generation: Generation) -> None:
        steps(engine, 4)
        generation.cancel()
        engine.step()

    with pytest.raises(Cancelled):
        generate(key, engine, meanwhile)
    assert account() == ("cancelled", PROMPT_TOKENS, 4)


def test_a_failed_one_costs_what_was_generated_until_then(
    engine: Engine, key: APIKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(segments: object) -> None:
        raise RuntimeError("broken")

    def meanwhile(generation: Generation) -> None:
        steps(engine, 2)
        monkeypatch.setattr(engine._model, "forward", broken)
        engine.step()

    with pytest.raises(GenerationFailed):
        generate(key, engine, meanwhile)
    assert account() == ("failed", PROMPT_TOKENS, 2)


def test_one_that_nobody_wants_the_rest_of_is_cancelled_and_its_last_token_is_counted(
    running_engine: Engine, key: APIKey
) -> None:
    with metered(key, running_engine, request(200)) as generation:
        next(generation.events())
    assert generation.done
    assert generation.completion_tokens >= 1
    outcome, prompt_tokens, completion_tokens = account()
    # A fast engine may have written all of it before it heard.
    assert outcome == ("cancelled" if completion_tokens < 200 else outcome)
    assert (prompt_tokens, completion_tokens) == (PROMPT_TOKENS, generation.completion_tokens)


def test_an_error_of_the_view_ends_the_generation_and_accounts_for_it(
    running_engine: Engine, key: APIKey
) -> None:
    with pytest.raises(ZeroDivisionError), metered(key, running_engine, request(200)) as generation:
        raise ZeroDivisionError
    assert generation.done
    assert account() == ("failed", generation.computed_prompt_tokens, generation.completion_tokens)


def test_one_that_the_engine_has_no_room_for_costs_nothing(engine: Engine, key: APIKey) -> None:
    others = [engine.submit(engine.prepare(request()))]
    engine.step()
    others.append(engine.submit(engine.prepare(request())))
    with pytest.raises(Overloaded), metered(key, engine, request()):
        pass
    assert account() == ("overloaded", 0, 0)


def test_one_that_meets_a_draining_engine_costs_nothing(engine: Engine, key: APIKey) -> None:
    engine.drain()
    with pytest.raises(Unavailable), metered(key, engine, request()):
        pass
    assert account() == ("overloaded", 0, 0)


def test_one_that_can_never_be_generated_is_not_even_admitted(engine: Engine, key: APIKey) -> None:
    with pytest.raises(PromptTooLong), metered(key, engine, request(CONTEXT_LENGTH)):
        pass
    assert not DailyUsage.objects.exists()


def test_one_beyond_the_limits_never_reaches_the_engine(engine: Engine, key: APIKey) -> None:
    key.max_concurrent = 1
    services.update_key(key=key, fields=["max_concurrent"])
    with metered(key, engine, request(1)):
        with pytest.raises(LimitExceeded), metered(key, engine, request(1)):
            pass
        steps(engine, 1)
        assert not engine.step()
    row = DailyUsage.objects.get()
    assert (row.finished, row.refused, row.tokens) == (1, 1, PROMPT_TOKENS + 1)


def test_several_texts_of_one_request_have_one_reservation_and_one_account(
    engine: Engine, key: APIKey
) -> None:
    with Metered(key=key, backend=engine, requests=[request(2), request(3)]).admit() as both:
        assert Reservation.objects.get().tokens == 2 * PROMPT_TOKENS + 5
        while engine.step():
            pass
        merged = list(both.events())
    assert [len([item for item in merged if item and item[0] == index]) for index in (0, 1)] == [2, 3]
    assert account() == ("finished", 2 * PROMPT_TOKENS, 5)


def test_a_stream_that_nobody_read_is_accounted_for_by_how_it_ended(
    engine: Engine, key: APIKey, clock: Clock
) -> None:
    one = Metered(key=key, backend=engine, requests=[request(timeout_s=10)])
    one.admit()
    steps(engine, 2)
    clock.now = 10
    engine.step()
    one.close()
    assert account() == ("timed_out", PROMPT_TOKENS, 2)


def test_a_text_that_was_displaced_does_not_make_the_others_free(key: APIKey, clock: Clock) -> None:
    config = EngineConfig(kv_cache_tokens=1024, max_running=1, max_queued=2)
    engine = tiny_engine(config, start=False, clock=clock)
    three = Metered(key=key, backend=engine, requests=[request(5)], choices=3).admit()
    steps(engine, 2)
    other = engine.submit(engine.prepare(replace(request(1), owner="another")))  # displaces the last one
    while engine.step():
        pass
    assert other.result()
    with pytest.raises(Overloaded):
        list(three.events())
    assert account() == ("overloaded", PROMPT_TOKENS, 10)


def test_several_texts_that_find_no_room_displace_nobody_and_take_no_request_of_the_minute(
    key: APIKey, clock: Clock
) -> None:
    config = EngineConfig(kv_cache_tokens=1024, max_running=1, max_queued=3)
    engine = tiny_engine(config, start=False, clock=clock)
    others = [engine.submit(engine.prepare(replace(request(1), owner="another"))) for _ in range(4)]
    with pytest.raises(Overloaded):
        Metered(key=key, backend=engine, requests=[request(5)], choices=3).admit()
    assert not Reservation.objects.exists()
    while engine.step():
        pass
    assert all(other.result() for other in others)


def test_several_texts_of_a_prompt_count_it_once_and_draw_with_seeds_of_their_own(
    running_engine: Engine, key: APIKey
) -> None:
    prompts = [
        GenerationRequest(prompt=tuple(range(length)), sampling=SamplingParams(seed=7), max_new_tokens=8)
        for length in (5, 3)
    ]
    with Metered(key=key, backend=running_engine, requests=prompts, choices=3).admit() as several:
        assert Reservation.objects.get().tokens == 5 + 3 + 6 * 8
        texts = [generation.result().text for generation in several.generations]
    assert account() == ("finished", 5 + 3, 6 * 8)
    alone = [
        GenerationRequest(prompt=one.prompt, sampling=SamplingParams(seed=7 + i), max_new_tokens=8)
        for one in prompts
        for i in range(3)
    ]
    assert texts == [running_engine.submit(running_engine.prepare(one)).result().text for one in alone]
    assert len(set(texts)) == 6
