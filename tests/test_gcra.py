"""`Rate` against a simple model: the continuous-state leaky bucket, the other form of ITU-T I.371."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.limits.gcra import SECOND, Rate, microseconds, whole_seconds

rates = st.builds(Rate, per_minute=st.integers(1, 1_000_000), burst=st.integers(1, 1000))
# None at all, about one interval, and long.
pauses = st.lists(
    st.integers(0, 3 * SECOND) | st.integers(0, 100) | st.integers(0, 7200 * SECOND), max_size=60
)


class LeakyBucket:
    """Holds `burst` requests. Each conforming request adds one, and one leaks out per interval."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.level = Fraction(0)
        self.at_us = 0

    def admits(self, now_us: int) -> bool:
        leaked = Fraction(now_us - self.at_us, self.rate.interval_us)
        self.level, self.at_us = max(Fraction(0), self.level - leaked), now_us
        if self.level + 1 > self.rate.burst:
            return False
        self.level += 1
        return True

    @property
    def left(self) -> int:
        return int(self.rate.burst - self.level)


@given(rate=rates, start=st.integers(0, 2**50), pauses=pauses)
def test_decisions_equal_those_of_a_leaky_bucket(rate: Rate, start: int, pauses: list[int]) -> None:
    bucket = LeakyBucket(rate)
    tat_us, now_us = 0, start
    bucket.at_us = start
    for pause in pauses:
        now_us += pause
        left = rate.left(tat_us, now_us=now_us)
        conforms = rate.wait_us(tat_us, now_us=now_us) == 0
        assert conforms == (left > 0)
        assert conforms == bucket.admits(now_us)
        if conforms:
            tat_us = rate.taken(tat_us, now_us=now_us)
        assert rate.left(tat_us, now_us=now_us) == bucket.left


@given(rate=rates, tat_us=st.integers(0, 2**52), now_us=st.integers(0, 2**52))
def test_waiting_for_the_stated_time_suffices_and_a_microsecond_less_does_not(
    rate: Rate, tat_us: int, now_us: int
) -> None:
    tat_us = rate.bounded(tat_us, now_us=now_us)
    wait_us = rate.wait_us(tat_us, now_us=now_us)
    assert rate.wait_us(tat_us, now_us=now_us + wait_us) == 0
    assert rate.wait_us(tat_us, now_us=now_us + SECOND * whole_seconds(wait_us)) == 0
    if wait_us:
        assert rate.wait_us(tat_us, now_us=now_us + wait_us - 1) > 0
    full_us = rate.full_in_us(tat_us, now_us=now_us)
    assert rate.left(tat_us, now_us=now_us + full_us) == rate.burst


@given(rate=rates, tat_us=st.integers(0, 2**62), now_us=st.integers(0, 2**52))
def test_no_state_makes_a_caller_wait_longer_than_one_interval(rate: Rate, tat_us: int, now_us: int) -> None:
    assert rate.wait_us(tat_us, now_us=now_us) <= rate.interval_us
    assert 0 <= rate.left(tat_us, now_us=now_us) <= rate.burst


@given(per_minute=st.integers(1, 1_000_000))
def test_rounding_never_admits_more_than_the_limit_per_minute(per_minute: int) -> None:
    assert Rate(per_minute=per_minute, burst=1).interval_us * per_minute >= 60 * SECOND


def test_60_per_minute_admits_60_at_once_and_then_one_per_second() -> None:
    rate, tat_us, admitted = Rate(per_minute=60, burst=60), 0, []
    for tenth in range(100):
        for _ in range(20):
            now_us = tenth * SECOND // 10
            if not rate.wait_us(tat_us, now_us=now_us):
                tat_us = rate.taken(tat_us, now_us=now_us)
                admitted.append(now_us)
    assert len(admitted) == 60 + 9
    assert admitted[60:] == [second * SECOND for second in range(1, 10)]


@pytest.mark.parametrize(("us", "seconds"), [(0, 0), (1, 1), (SECOND, 1), (SECOND + 1, 2)])
def test_seconds_are_rounded_up(us: int, seconds: int) -> None:
    assert whole_seconds(us) == seconds


def test_microseconds_are_exact() -> None:
    assert microseconds(datetime(2026, 11, 23, 1, 2, 3, 999_999, UTC)) == 1_795_395_723_999_999
