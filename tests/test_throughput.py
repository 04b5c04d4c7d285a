"""The rate of generated tokens on the page "Now"."""

from hypothesis import given
from hypothesis import strategies as st

from llmservice.now.throughput import WINDOW_S, Throughput


def test_there_is_no_rate_before_the_second_observation() -> None:
    rate = Throughput()
    assert rate.per_s is None
    rate.observe(5, now=1.0)
    assert rate.per_s is None
    rate.observe(5, now=1.0)
    assert rate.per_s is None


def test_what_is_older_than_the_window_does_not_count() -> None:
    rate = Throughput()
    for second in range(100):
        rate.observe(50 * second, now=float(second))
    for second in range(100, 105):
        rate.observe(50 * 99, now=float(second))
    # Five of the ten seconds were busy.
    assert rate.per_s == 25.0
    rate.observe(50 * 99, now=200.0)
    rate.observe(50 * 99, now=200.0 + WINDOW_S)
    assert rate.per_s == 0.0


def test_an_engine_that_starts_anew_does_not_make_the_rate_negative() -> None:
    rate = Throughput()
    rate.observe(1000, now=0.0)
    rate.observe(0, now=1.0)
    rate.observe(20, now=2.0)
    assert rate.per_s == 20.0


@given(st.lists(st.integers(0, 100), min_size=2, max_size=50), st.floats(0.5, 3.0))
def test_the_rate_is_between_the_slowest_and_the_fastest(counts: list[int], every_s: float) -> None:
    rate = Throughput()
    total = 0
    rate.observe(total, now=0.0)
    for place, count in enumerate(counts, 1):
        total += count
        rate.observe(total, now=place * every_s)
    assert rate.per_s is not None
    assert min(counts) / every_s - 1e-6 <= rate.per_s <= max(counts) / every_s + 1e-6
