"""The queue in front of an upstream engine: bounded, and fair between owners."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.errors import Overloaded
from inference.engine.fair_queue import FairQueue
from tests.examples import examples


def taken(queue: FairQueue[str]) -> list[str]:
    found = []
    while (item := queue.take()) is not None:
        found.append(item)
    return found


def test_the_owner_with_the_fewest_running_is_next_and_then_the_first_that_came() -> None:
    queue: FairQueue[str] = FairQueue(max_running=4, max_queued=10)
    for item in ("a1", "a2", "a3", "b1", "c1"):
        queue.add([item], owner=item[0])
    assert taken(queue) == ["a1", "b1", "c1", "a2"]
    queue.leave(owner="a", service_s=1.0)
    assert taken(queue) == ["a3"]


def test_a_full_queue_drops_the_newest_of_the_owner_with_the_most_waiting() -> None:
    queue: FairQueue[str] = FairQueue(max_running=1, max_queued=3)
    for item in ("a1", "a2", "a3", "a4"):
        assert queue.add([item], owner="a") == []
    with pytest.raises(Overloaded):
        queue.add(["a5"], owner="a")
    assert queue.add(["b1"], owner="b") == ["a4"]
    assert queue.add(["b2"], owner="b") == ["a3"]
    with pytest.raises(Overloaded):
        queue.add(["b3"], owner="b")


def test_what_is_removed_does_not_run() -> None:
    queue: FairQueue[str] = FairQueue(max_running=2, max_queued=2)
    queue.add(["one"], owner="a")
    queue.add(["two"], owner="a")
    assert queue.remove("one", owner="a")
    assert not queue.remove("one", owner="a")
    assert taken(queue) == ["two"]


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40),
    st.integers(1, 4),
    st.integers(0, 4),
)
def test_its_bounds_and_counts_always_hold(
    steps: list[tuple[str, bool]], max_running: int, max_queued: int
) -> None:
    queue: FairQueue[int] = FairQueue(max_running=max_running, max_queued=max_queued)
    owners: dict[int, str] = {}
    running: list[int] = []
    waiting: set[int] = set()
    for number, (owner, ends) in enumerate(steps):
        if ends and running:
            queue.leave(owner=owners[running.pop(0)], service_s=1.0)
        else:
            owners[number] = owner
            try:
                dropped = queue.add([number], owner=owner)
            except Overloaded:
                pass
            else:
                waiting = (waiting | {number}) - set(dropped)
        assert 1 <= queue.retry_after_s() <= 60
        while (item := queue.take()) is not None:
            waiting.remove(item)
            running.append(item)
        assert queue.running == len(running) <= max_running
        assert queue.queued == len(waiting) <= max_queued
        loads = queue.owners
        assert sum(one.running for one in loads.values()) == len(running)
        assert sum(one.queued for one in loads.values()) == len(waiting)


@settings(max_examples=examples(100))
@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9), st.booleans()), max_size=30),
    st.integers(1, 4),
    st.integers(0, 12),
)
def test_requests_get_in_together_and_take_no_place_that_is_not_theirs(
    steps: list[tuple[str, int, bool]], max_running: int, max_queued: int
) -> None:
    queue: FairQueue[object] = FairQueue(max_running=max_running, max_queued=max_queued)
    running: list[str] = []
    for owner, count, runs in steps:
        before, free = list(queue.waiting), queue.room
        lengths = {name: load.queued for name, load in queue.owners.items() if load.queued}
        share = (len(before) + free) / len(lengths | {owner: 0})
        own = lengths.get(owner, 0) + count
        new = [object() for _ in range(count)]
        try:
            dropped = queue.add(new, owner=owner)
        except Overloaded:
            assert list(queue.waiting) == before
            assert count > free
            assert own > share or max(lengths.values(), default=0) <= share
        else:
            assert len(dropped) == max(0, count - free)
            assert set(queue.waiting) == {*before, *new} - set(dropped)
            # Nobody who gave way is left with less than the newcomer has.
            after = {name: load.queued for name, load in queue.owners.items()}
            assert all(after[name] >= own for name in lengths if after[name] < lengths[name])
        if running and not runs:
            queue.leave(owner=running.pop(), service_s=1.0)
        for name in list(queue.owners):
            if runs and queue.running < max_running and name in queue.first:
                queue.take_from(name)
                running.append(name)


def test_a_request_that_needs_more_places_than_it_may_have_takes_none() -> None:
    queue: FairQueue[str] = FairQueue(max_running=1, max_queued=3)
    queue.add(["a1", "a2", "a3", "a4"], owner="a")
    for many in (["b1", "b2", "b3"], ["b"] * 9):
        with pytest.raises(Overloaded):
            queue.check_room("b", count=len(many))
        with pytest.raises(Overloaded):
            queue.add(many, owner="b")
        assert list(queue.waiting) == ["a1", "a2", "a3", "a4"]
    assert queue.add(["b1", "b2"], owner="b") == ["a4", "a3"]
