"""How long a client may take to read what waits for it."""

from hypothesis import given
from hypothesis import strategies as st

from llmservice.server.pace import LEAST_BYTES_PER_S, STALL_S, Pace


def test_a_client_that_stops_is_late_after_a_pause() -> None:
    pace = Pace(began_at=100.0)
    pace.take(10_000_000, now=110.0)
    assert not pace.is_late(110.0 + STALL_S)
    assert pace.is_late(110.1 + STALL_S)


def test_a_client_that_takes_a_little_before_each_pause_ends_is_late_all_the_same() -> None:
    pace = Pace(began_at=0.0)
    for now in range(0, 100, 25):
        if pace.is_late(now):
            break
        pace.take(1000, now=now)
    assert 25 < now <= 50


@given(
    pauses=st.lists(st.floats(0, STALL_S - 0.1), max_size=50),
    rate=st.floats(LEAST_BYTES_PER_S + 1, 1e9),
    last_pause=st.floats(0, STALL_S - 0.1),
)
def test_a_client_that_keeps_the_least_rate_is_never_late(
    pauses: list[float], rate: float, last_pause: float
) -> None:
    pace, now = Pace(began_at=0.0), 0.0
    for pause in pauses:
        now += pause
        assert not pace.is_late(now)
        pace.take(int(rate * pause) + 1, now=now)
    assert not pace.is_late(now + last_pause)


@given(st.lists(st.tuples(st.floats(0, STALL_S), st.integers(1, 100_000)), max_size=100))
def test_an_answer_holds_its_thread_no_longer_than_its_size_allows(taken: list[tuple[float, int]]) -> None:
    pace, now, total = Pace(began_at=0.0), 0.0, 0
    for pause, count in taken:
        now += pause
        if pace.is_late(now):
            return
        assert now <= STALL_S + total / LEAST_BYTES_PER_S
        pace.take(count, now=now)
        total += count
