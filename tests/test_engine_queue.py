"""Requests that wait: who is refused, whose turn it is, and what a long prompt costs the others."""

import pytest

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.errors import Overloaded
from inference.engine.generation import Generation
from tests.engine_requests import alone, finish, full_engine, request, stepped_engine, submit
from tests.models import tiny_engine


@pytest.fixture
def stepped() -> Engine:
    return stepped_engine()


@pytest.fixture
def full() -> tuple[Engine, list[Generation]]:
    return full_engine()


def test_a_full_queue_says_when_to_come_again(full: tuple[Engine, list[Generation]]) -> None:
    engine, _ = full
    for i in range(4):
        submit(engine, request(seed=i))
    with pytest.raises(Overloaded) as refused:
        submit(engine, request())
    assert refused.value.retry_after_s >= 1
    finish(engine)
    submit(engine, request())


def test_an_idle_engine_takes_as_many_at_once_as_run_and_wait(stepped: Engine) -> None:
    for i in range(8):
        submit(stepped, request(seed=i))
    with pytest.raises(Overloaded):
        submit(stepped, request())


def test_without_a_queue_a_free_place_is_still_taken() -> None:
    config = EngineConfig(kv_cache_tokens=512, max_running=1, max_queued=0)
    engine = tiny_engine(config, start=False)
    submit(engine, request())
    with pytest.raises(Overloaded):
        submit(engine, request())


def test_a_full_queue_makes_room_for_an_owner_who_waits_for_less(
    full: tuple[Engine, list[Generation]],
) -> None:
    engine, _ = full
    greedy = [submit(engine, request(seed=i, owner="greedy")) for i in range(4)]
    modest = submit(engine, request(owner="modest"))
    assert greedy[-1].done  # the newest of the one who waits for most
    with pytest.raises(Overloaded):
        greedy[-1].result()
    second = submit(engine, request(owner="modest"))
    with pytest.raises(Overloaded):  # two and two: even
        submit(engine, request(owner="modest"))
    finish(engine)
    assert all(g.result() for g in [*greedy[:2], modest, second])


def test_owners_get_turns() -> None:
    order: list[str] = []
    engine = tiny_engine(EngineConfig(kv_cache_tokens=2048, max_running=2, max_queued=100), start=False)

    def submit_all(owner: str, count: int) -> list[Generation]:
        return [submit(engine, request(seed=i, owner=owner, new=10)) for i in range(count)]

    pending = {owner: submit_all(owner, count) for owner, count in (("busy", 20), ("calm", 2), ("other", 2))}
    while engine.step():
        for owner, generations in pending.items():
            order += [owner for g in generations if g.done]
            pending[owner] = [g for g in generations if not g.done]
    assert order.index("calm") <= 3
    assert [owner for owner in order[:10] if owner != "busy"].count("other") == 2
    assert len(order) == 24


def test_memory_bounds_what_runs_and_nobody_is_overtaken() -> None:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=300), start=False)
    large = [submit(engine, request("y" * 150, seed=i, new=20)) for i in range(2)]
    small = submit(engine, request(new=10, owner="same"))
    engine.step()
    assert (large[0].completion_tokens, large[1].completion_tokens) == (1, 0)
    finish(engine)
    assert all(generation.done for generation in [*large, small])


def test_a_long_prompt_lets_the_others_go_on() -> None:
    config = EngineConfig(kv_cache_tokens=2048, prefill_tokens_shared=32)
    engine = tiny_engine(config, start=False)
    running = submit(engine, request(new=100))
    engine.step()
    long = submit(engine, request("y" * 200, new=3))
    steps = 0
    while not long.completion_tokens:
        engine.step()
        steps += 1
    assert steps == 7  # 32 tokens of the prompt a step
    assert running.completion_tokens == 1 + steps
    finish(engine)
    assert long.result().text == alone(request("y" * 200, new=3))
