"""The breaker in front of an engine that does not answer."""

import pytest

from inference.engine.upstream.breaker import Breaker, BreakerState
from tests.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock(now=100.0)


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(failures=3, pause_s=1.0, clock=clock)


def fail(breaker: Breaker, times: int) -> list[bool]:
    return [breaker.failed("It is down.") for _ in range(times)]


def test_only_failures_in_a_row_open_it(breaker: Breaker) -> None:
    fail(breaker, 2)
    breaker.succeeded()
    assert fail(breaker, 2) == [False, False]
    assert breaker.state is BreakerState.CLOSED
    assert breaker.reason == ""
    assert fail(breaker, 1) == [True]
    assert (breaker.state, breaker.reason) == (BreakerState.OPEN, "It is down.")


def test_attempts_that_break_together_count_once(breaker: Breaker, clock: Clock) -> None:
    began_at, clock.now = clock.now, clock.now + 1
    assert [breaker.failed("One of two is down.", began_at=began_at) for _ in range(9)] == [False] * 9
    assert breaker.state is BreakerState.CLOSED
    for opens in (False, True):
        began_at, clock.now = clock.now + 0.1, clock.now + 1
        assert breaker.failed("Both are down.", began_at=began_at) is opens


def test_a_refused_key_opens_it_at_once(breaker: Breaker) -> None:
    assert breaker.failed("The key is refused.", at_once=True)
    assert breaker.reason == "The key is refused."


def test_one_probe_after_the_pause_decides(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    assert not breaker.begin_probe()
    clock.now += 1.0
    assert breaker.begin_probe()
    assert breaker.state == BreakerState.HALF_OPEN.value
    assert not breaker.begin_probe()  # only one
    assert breaker.reason
    breaker.succeeded()
    assert breaker.reason == ""


def test_each_probe_that_fails_doubles_the_pause_up_to_half_a_minute(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    pauses = []
    for _ in range(7):
        pauses.append(breaker.probe_in_s)
        clock.now += breaker.probe_in_s
        assert breaker.begin_probe()
        breaker.failed("Still down.")
    assert pauses == [1, 2, 4, 8, 16, 30, 30]
    assert breaker.reason == "Still down."
    breaker.succeeded()
    fail(breaker, 3)
    assert breaker.probe_in_s == 1


def test_requests_that_began_before_do_not_lengthen_the_pause(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, 3)
    clock.now += 0.5
    assert fail(breaker, 4) == [False] * 4
    assert breaker.probe_in_s == 0.5
