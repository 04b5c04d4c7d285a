"""The order in which a reload replaces the workers; tests/e2e/test_workers.py does it with real ones."""

import logging
import signal
from types import SimpleNamespace
from typing import Any

import pytest

from llmservice import arbiter as module
from llmservice.arbiter import RollingArbiter


class Simulated(RollingArbiter):
    """An arbiter whose workers are only recorded: the ages of those that exist, can generate, and end."""

    def __init__(self, workers: int) -> None:
        self._num_workers = workers
        self.log = logging.getLogger(__name__)
        self.app = SimpleNamespace(reload=lambda: None)
        self.cfg = SimpleNamespace(on_reload=lambda arbiter: None, enable_backlog_metric=False)
        self.log.reopen_files = lambda: None  # type: ignore[attr-defined]
        self._stats = {"reloads": 0}
        self._last_logged_active_worker_count = None
        self.WORKERS: dict[int, Any] = {}
        self.worker_age = 0
        self.ready: set[int] = set()
        self.ending: list[int] = []
        for _ in range(workers):
            self.spawn_worker()
        self.ready = set(self.WORKERS)

    def setup(self, app: Any) -> None:
        pass

    def spawn_workers(self) -> None:
        while len(self.WORKERS) < self.num_workers:
            self.spawn_worker()

    def spawn_worker(self) -> None:
        self.worker_age += 1
        self.WORKERS[self.worker_age] = SimpleNamespace(age=self.worker_age, pid=self.worker_age)

    def kill_worker(self, pid: int, number: int) -> None:
        assert number == signal.SIGTERM
        self.ready.discard(pid)
        self.ending.append(pid)

    def step(self) -> None:
        """One thing happens, an end before a load, and the arbiter looks at its workers."""
        if self.ending:
            del self.WORKERS[self.ending.pop(0)]
        else:
            self.ready |= set(self.WORKERS)
        self.manage_workers()


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Any:
    def start(workers: int, *, room: bool) -> Simulated:
        simulated = Simulated(workers)
        monkeypatch.setattr(module, "WORKERS", SimpleNamespace(is_ready=lambda age: age in simulated.ready))
        monkeypatch.setattr(module, "holds_one_more", lambda pids: room)
        return simulated

    return start


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_all_are_replaced_with_one_more_at_most_and_as_many_as_before_can_generate(
    start: Any, workers: int
) -> None:
    arbiter = start(workers, room=True)
    arbiter.reload()

    for _ in range(4 * workers):
        assert len(arbiter.WORKERS) <= workers + 1 + len(arbiter.ending)
        assert len(arbiter.ready) >= workers
        arbiter.step()

    assert sorted(arbiter.WORKERS) == list(range(workers + 1, 2 * workers + 1))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_without_room_for_one_more_none_starts_before_another_has_ended(start: Any, workers: int) -> None:
    arbiter = start(workers, room=False)
    arbiter.reload()

    for _ in range(4 * workers):
        assert len(arbiter.WORKERS) <= workers
        assert len(arbiter.ready) >= workers - 1
        arbiter.step()

    assert sorted(arbiter.WORKERS) == list(range(workers + 1, 2 * workers + 1))


def test_a_second_reload_during_the_first_keeps_the_worker_that_can_generate(start: Any) -> None:
    arbiter = start(1, room=True)
    arbiter.reload()
    arbiter.reload()

    for _ in range(6):
        assert arbiter.ready
        arbiter.step()

    assert list(arbiter.WORKERS) == [3]
