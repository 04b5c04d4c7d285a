"""Times in buckets: the mean is exact, and a quantile is within a factor of two of the true one."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.latency import BOUNDS_MS, LONGEST_MS, Latency, Measure


def summed(times: list[int]) -> list[int]:
    """The columns of the measure after this many requests, in their order."""
    columns: Counter[str] = Counter()
    for ms in times:
        columns.update(Measure.TOTAL.counted(ms))
    assert set(columns) <= set(Measure.TOTAL.columns)
    return [columns[name] for name in Measure.TOTAL.columns]


@given(st.lists(st.integers(BOUNDS_MS[0], LONGEST_MS), min_size=1))
def test_the_mean_is_exact_and_quantiles_are_within_a_factor_of_two(times: list[int]) -> None:
    latency = Latency.of(summed(times))
    assert latency is not None
    assert latency.count == len(times)
    assert latency.mean_ms == pytest.approx(sum(times) / len(times))
    for part, estimate in ((0.5, latency.p50_ms), (0.95, latency.p95_ms)):
        true = sorted(times)[math.ceil(part * len(times)) - 1]
        assert true / 2 <= estimate <= true * 2
    assert latency.p50_ms <= latency.p95_ms


@given(st.integers(0, 10 * LONGEST_MS))
def test_every_time_is_counted_once(ms: int) -> None:
    total, *buckets = summed([ms])
    assert (total, sum(buckets)) == (ms, 1)


def test_times_above_the_last_bound_count_as_that_bound() -> None:
    latency = Latency.of(summed([LONGEST_MS + 1]))
    assert latency is not None
    assert (latency.p50_ms, latency.p95_ms) == (LONGEST_MS, LONGEST_MS)
    assert latency.mean_ms == LONGEST_MS + 1


def test_without_a_measured_request_there_is_no_latency() -> None:
    assert Latency.of(summed([])) is None
    assert Measure.TOTAL.counted(None) == {}
