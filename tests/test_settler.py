"""Accounts are exact when the database takes none for a while, and no answer waits for it."""

import errno
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections

from accounts import services
from accounts.limits import admission, settler
from accounts.limits.journal import Adopted, Journal
from accounts.limits.settlement import Settlement
from accounts.models import APIKey, DailyUsage, Outcome, Reservation
from llmservice.database import separate_connection

pytestmark = pytest.mark.django_db(transaction=True)

WITHIN_S = 30.0

Locked = Callable[[], AbstractContextManager[None]]


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "settlements"


@pytest.fixture
def started(folder: Path) -> Iterator[None]:
    settler.start(folder)
    yield
    settler.stop()


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Locked]:
    """While it is open, the database takes no account; each attempt waits for a moment."""
    name, value = ("timeout", 0.1) if connection.vendor == "sqlite" else ("options", "-c lock_timeout=100")
    monkeypatch.setitem(connections.settings["default"]["OPTIONS"], name, value)
    _connect_anew()
    lock = "BEGIN EXCLUSIVE" if connection.vendor == "sqlite" else "LOCK TABLE accounts_dailyusage"

    @contextmanager
    def hold() -> Iterator[None]:
        with separate_connection(connection) as own, own.cursor() as cursor:
            if own.vendor == "postgresql":
                cursor.execute("BEGIN")
            cursor.execute(lock)
            yield
            cursor.execute("ROLLBACK")

    yield hold
    monkeypatch.undo()
    _connect_anew()


def _connect_anew() -> None:
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", limits={"tokens_per_day": 1000, "max_concurrent": 50}).key


def ended(key: APIKey, tokens: int = 7) -> Settlement:
    """A request that was admitted, with the account of its end, which has not been written."""
    return admission.admit(key=key, tokens=100, timeout_s=60).settlement(
        Outcome.FINISHED, prompt_tokens=2, completion_tokens=tokens - 2
    )


def usage() -> tuple[int, int, int]:
    """Requests finished and lost, and tokens."""
    row = DailyUsage.objects.first() or DailyUsage()
    return row.finished, row.lost, row.tokens


def kept(folder: Path) -> int:
    """How many accounts are in files."""
    return sum(path.read_text().count("\n") for path in folder.glob("*.jsonl"))


def test_an_account_is_written_before_the_answer_leaves_and_needs_no_file(
    key: APIKey, folder: Path, started: None
) -> None:
    settler.settle(ended(key))
    assert usage() == (1, 0, 7)
    assert not Reservation.objects.exists()
    assert not folder.exists()


def test_an_answer_does_not_wait_for_a_database_that_takes_nothing(
    key: APIKey, folder: Path, started: None, locked: Locked, caplog: pytest.LogCaptureFixture
) -> None:
    settlements = [ended(key, tokens) for tokens in (5, 6, 7)]
    with caplog.at_level(logging.INFO, "accounts.limits.settler"):
        with locked():
            for settlement in settlements:
                settler.settle(settlement)  # returns though the database is locked until the block ends
            assert kept(folder) == 3
            assert settler.waiting() == 3
            assert settler.behind()
        wait_until(lambda: not settler.waiting() and not kept(folder))
        assert usage() == (3, 0, 18)
        assert not settler.behind()
        wait_until(lambda: "The database has all accounts again." in caplog.messages)
    assert sum("The database does not take accounts" in message for message in caplog.messages) == 1


def test_requests_that_end_at_the_same_time_are_all_counted(
    key: APIKey, folder: Path, started: None, locked: Locked
) -> None:
    settlements = [ended(key) for _ in range(8)]
    with locked():
        threads = [threading.Thread(target=settler.settle, args=[one]) for one in settlements]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    wait_until(lambda: not settler.waiting())
    assert usage() == (8, 0, 56)


def test_what_a_stopped_process_could_not_write_is_counted_once_by_the_next(
    key: APIKey, folder: Path, locked: Locked
) -> None:
    first, second = ended(key), ended(key)
    with locked():
        settler.start(folder)
        settler.settle(first)
        settler.settle(second)
        settler.stop()
    assert kept(folder) == 2
    # The process may also have ended after the database had taken an account, and before the file was told.
    admission.settle([first])
    settler.start(folder)
    wait_until(lambda: not settler.waiting() and not kept(folder))
    settler.stop()
    assert usage() == (2, 0, 14)
    assert not list(folder.iterdir())


def test_the_file_of_several_accounts_of_a_dead_process_is_closed_once(
    key: APIKey, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed again, its descriptor could be that of another file by then."""
    dead = Journal(folder)
    for settlement in (ended(key), ended(key), ended(key)):
        dead.add(settlement)
    dead.close()
    removed: list[Path] = []
    remove = Adopted.remove

    def count(file: Adopted) -> None:
        removed.append(file.file.path)
        remove(file)

    monkeypatch.setattr(Adopted, "remove", count)
    settler.start(folder)
    wait_until(lambda: not settler.waiting() and not list(folder.iterdir()))
    settler.stop()
    assert len(removed) == 1
    assert usage() == (3, 0, 21)


def test_an_account_that_comes_after_its_request_was_lost_is_counted_all_the_same(
    key: APIKey, folder: Path, started: None
) -> None:
    settlement = ended(key)
    admission.give_back_overdue(now=settlement.deadline)
    assert usage() == (0, 1, 0)
    settler.settle(settlement)
    assert usage() == (1, 0, 7)


def test_a_reservation_that_the_database_lost_in_a_crash_is_charged(
    key: APIKey, folder: Path, started: None
) -> None:
    settlement = ended(key)
    Reservation.objects.all().delete()
    settler.settle(settlement)
    assert usage() == (1, 0, 7)


def test_a_disk_without_room_for_the_journal_costs_no_account(
    key: APIKey,
    folder: Path,
    started: None,
    locked: Locked,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    first, second = ended(key), ended(key)
    with locked():
        with monkeypatch.context() as context:
            context.setattr(os, "write", full)
            settler.settle(first)
            assert "No space left on device" in caplog.text
            assert kept(folder) == 0
        wait_until(lambda: kept(folder) == 1)  # there is room again
        settler.settle(second)
    wait_until(lambda: not settler.waiting() and not kept(folder))
    assert usage() == (2, 0, 14)


def test_an_account_that_nothing_could_keep_is_in_the_log(
    key: APIKey,
    folder: Path,
    locked: Locked,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "add", full)
    settlement = ended(key)
    with locked():
        settler.start(folder)
        settler.settle(settlement)
        settler.stop()
    assert settlement.to_json() in caplog.text


def test_an_account_that_can_never_be_written_does_not_hold_up_the_others(
    key: APIKey, folder: Path, started: None, locked: Locked, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = ended(key), ended(key, tokens=-100)
    with locked():
        settler.settle(bad)
        settler.settle(good)
    wait_until(lambda: not settler.waiting() and not kept(folder))
    assert usage() == (1, 0, 7)
    assert bad.to_json() in caplog.text
