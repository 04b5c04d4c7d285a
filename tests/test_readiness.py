"""Which workers can generate, as their sibling processes see it."""

import os
import signal
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from inference import runtime
from llmservice import readiness
from llmservice.readiness import Readiness
from tests.models import tiny_engine


class Sibling:
    """A process that declares the slot ready, and lives until it is killed, for a minute at most."""

    def __init__(self, workers: Readiness, slot: int) -> None:
        declared, tell = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            workers.declare(slot, ready=True)
            os.write(tell, b".")
            signal.alarm(60)
            signal.pause()
            os._exit(0)
        os.read(declared, 1)
        os.close(declared)
        os.close(tell)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Readiness]:
    """The workers of a service of its own."""
    workers = Readiness()
    monkeypatch.setattr(readiness, "WORKERS", workers)
    monkeypatch.setattr(readiness, "_ask", lambda: runtime.status().state is runtime.State.READY)
    yield workers
    runtime.stop()


def test_a_worker_counts_from_its_declaration_to_its_end_even_if_it_is_killed(workers: Readiness) -> None:
    assert not workers.any_other_is_ready()
    sibling = Sibling(workers, 7)

    assert workers.any_other_is_ready()
    assert workers.is_ready(7)
    assert not workers.is_ready(6)

    sibling.kill()
    assert not workers.any_other_is_ready()
    assert not workers.is_ready(7)


def test_a_worker_is_not_one_of_the_others(workers: Readiness) -> None:
    workers.declare(1, ready=True)
    assert not workers.any_other_is_ready()


def test_a_worker_that_loads_accepts_only_while_no_other_can_generate(
    workers: Readiness, settings: Settings
) -> None:
    settings.LLM_MODEL = "/no/such/folder"
    runtime.start()
    assert readiness.may_accept(1)

    sibling = Sibling(workers, 2)
    assert not readiness.may_accept(1)

    sibling.kill()
    assert readiness.may_accept(1)


def test_a_worker_that_can_generate_accepts_beside_others(workers: Readiness) -> None:
    sibling = Sibling(workers, 2)
    runtime.install(tiny_engine())

    assert readiness.may_accept(1)
    sibling.kill()
