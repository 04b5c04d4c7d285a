"""The simulation of many nodes on one database follows what is known of queues."""

import statistics
from dataclasses import replace

import pytest

from benchmarks import capacity
from benchmarks.capacity import Load, waits

LOAD = Load(nodes=1, tokens_per_s=200, tokens=200, keys=10, hottest=0, cores=1, server_ms=2, lock_ms=2)


def test_a_request_alone_takes_its_own_time() -> None:
    assert set(map(round, waits(LOAD, 20))) == {2}


def test_half_used_a_single_core_makes_requests_wait_as_long_as_theory_says() -> None:
    """M/D/1, random arrivals and a fixed time of service: the mean wait is rho / (2 - 2 rho) of that time."""
    load = replace(LOAD, nodes=250, keys=10_000)
    assert load.server_use == pytest.approx(0.5)
    assert statistics.fmean(waits(load, 40_000)) == pytest.approx(2 * (1 + 0.5), rel=0.1)


def test_one_key_is_as_fast_as_its_row_however_many_cores_there_are() -> None:
    load = replace(LOAD, nodes=250, hottest=1, cores=64, server_ms=0.1)
    assert load.hottest_use == pytest.approx(0.5)
    assert statistics.fmean(waits(load, 40_000)) == pytest.approx(3, rel=0.1)


def test_the_table_says_where_the_database_cannot_follow(capsys: pytest.CaptureFixture[str]) -> None:
    capacity.main(["--nodes", "1", "100000", "--requests", "200"])
    one, many = capsys.readouterr().out.splitlines()[2:]
    assert "grows" in many
    assert "grows" not in one
