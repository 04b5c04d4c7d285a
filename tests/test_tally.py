"""Requests refused for want of room are in the usage of their keys, without a reservation or a wait."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError

from accounts import services
from accounts.limits import ledger, tally, tally_file
from accounts.limits.tally import Tally
from accounts.limits.tally_file import Counted
from accounts.models import APIKey, DailyUsage, Outcome, Reservation, Tallied
from inference.engine.engine import Engine
from inference.engine.errors import Overloaded
from inference.metering import Metered
from inference.preparing import prepared
from llmservice.environment import BASE_DIR
from tests.metering import request
from tests.models import tiny_engine
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db

# It imports no test: those of this file need torch, which takes seconds.
KILLED = """
import json, os, signal, sys
from datetime import date
from pathlib import Path
import django
django.setup()
from accounts.limits.tally import Tally
from accounts.limits.tally_file import Counted
from accounts.models import Outcome
tally = Tally(Path(sys.argv[1]))
tally._now.file = tally._new_file()
for key_id in json.loads(sys.argv[2]):
    tally.add(Counted(key_id, date(2026, 11, 25), "/generate", Outcome.OVERLOADED))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", limits={"requests_per_minute": 1}).key


def overloaded() -> dict[int, int]:
    return dict(DailyUsage.objects.values_list("key_id", "overloaded"))


def test_a_refusal_reserves_nothing_takes_no_request_of_the_minute_and_counts(key: APIKey) -> None:
    class Full(Engine):
        def check_room(self, owner: str, *, count: int = 1) -> None:
            raise Overloaded(retry_after_s=3)

    engine = tiny_engine(start=False)
    engine.__class__ = Full
    for _ in range(3):
        with pytest.raises(Overloaded):
            Metered(key=key, backend=engine, requests=[request()])
    assert overloaded() == {key.pk: 3}
    assert not Reservation.objects.exists()
    services.create_key(name="other")
    with pytest.raises(Overloaded):  # of a chat as well, which is prepared first
        prepared(request(), key=key, backend=engine)
    assert overloaded() == {key.pk: 4}
    with pytest.raises(Overloaded):  # not LimitExceeded
        Metered(key=key, backend=engine, requests=[request()])


def test_what_the_database_does_not_take_is_written_later(
    key: APIKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise DatabaseError("It is away.")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "account", fails)
        patched.setattr(
            "accounts.limits.tally.connection.close", lambda: None
        )  # a test's transaction is on it
        tally.count(key.pk, Outcome.OVERLOADED)
    assert overloaded() == {}
    tally.count(key.pk, Outcome.OVERLOADED)
    assert overloaded() == {key.pk: 2}


def refused(key_id: int, times: int = 1) -> list[Counted]:
    return times * [Counted(key_id, date(2026, 11, 25), "/generate", Outcome.OVERLOADED)]


def killed_while_refusing(folder: Path, ones: list[Counted]) -> None:
    """A process that has answered these requests and is killed, as the kernel kills it."""
    environ = {**os.environ, "DJANGO_SETTINGS_MODULE": "llmservice.settings", "VAR_DIR": str(folder)}
    told = json.dumps([one.key_id for one in ones])
    command = [sys.executable, "-c", KILLED, str(folder), told]
    ended = subprocess.run(command, cwd=BASE_DIR, env=environ, check=False)
    assert ended.returncode == -signal.SIGKILL


@pytest.mark.django_db(transaction=True)
class TestKilled:
    @pytest.mark.slow
    def test_the_next_process_counts_what_a_killed_one_refused_and_does_so_once(
        self, key: APIKey, tmp_path: Path
    ) -> None:
        other = services.create_key(name="other").key
        killed_while_refusing(tmp_path, [*refused(key.pk, 3), *refused(other.pk)])
        for _ in range(2):
            following = Tally(tmp_path)
            following.adopt()
            following.write()
            assert overloaded() == {key.pk: 3, other.pk: 1}
        assert not list(tmp_path.glob("*.tally"))
        assert not Tallied.objects.exists()

    @pytest.mark.slow
    def test_what_was_written_before_the_kill_is_not_counted_again(
        self, key: APIKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        killed_while_refusing(tmp_path, refused(key.pk, 3))
        first = Tally(tmp_path)
        first.adopt()
        with monkeypatch.context() as patched:
            # It is killed between the transaction and the deletion of the file.
            patched.setattr("accounts.limits.tally._finish", lambda batch: batch.file.release())
            first.write()
        assert overloaded() == {key.pk: 3}
        second = Tally(tmp_path)
        second.adopt()
        second.write()
        assert overloaded() == {key.pk: 3}
        assert not list(tmp_path.glob("*.tally"))

    @pytest.mark.slow
    def test_one_process_alone_adopts_a_file(self, key: APIKey, tmp_path: Path) -> None:
        killed_while_refusing(tmp_path, refused(key.pk, 2))
        several = [Tally(tmp_path) for _ in range(3)]
        for one in several:
            one.adopt()
        for one in several:
            one.write()
        assert overloaded() == {key.pk: 2}

    def test_a_line_that_was_half_written_is_ignored_and_those_around_it_are_not(
        self, key: APIKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [one] = refused(key.pk)
        file = tally_file.create(tmp_path)
        tally_file.add(file, one)
        write = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:20]))
        with pytest.raises(OSError, match="only a part"):
            tally_file.add(file, one)
        monkeypatch.undo()
        tally_file.add(file, one)
        file.release()
        following = Tally(tmp_path)
        following.adopt()
        following.write()
        assert overloaded() == {key.pk: 2}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_transaction_whose_end_is_unknown_counts_once(
    key: APIKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = tally._account

    def answer_lost(batch: Any, **more: Any) -> None:
        account(batch, **more)
        raise DatabaseError("The connection is gone.")

    killed_while_refusing(tmp_path, refused(key.pk))
    one = Tally(tmp_path)
    one.adopt()
    with monkeypatch.context() as patched:
        patched.setattr(tally, "_account", answer_lost)
        one.write()
    one.add(*refused(key.pk))
    one.write()
    assert overloaded() == {key.pk: 2}


@pytest.mark.django_db(transaction=True)
def test_a_disk_without_room_costs_no_refusal_of_a_process_that_lives(
    key: APIKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tally_file, "add", full)
    one = Tally(tmp_path)
    one.start()
    for _ in range(3):
        one.add(*refused(key.pk))
        one.write()
    one.stop()
    assert overloaded() == {key.pk: 3}
    assert caplog.text.count("free space") == 1


@pytest.mark.django_db(transaction=True)
def test_what_the_database_never_took_is_left_to_the_next_process(
    key: APIKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise DatabaseError("It is away.")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "account", fails)
        tally.start(tmp_path)
        tally.count(key.pk, Outcome.OVERLOADED)
        tally.stop()
    assert overloaded() == {}
    following = Tally(tmp_path)
    following.adopt()
    following.write()
    assert overloaded() == {key.pk: 1}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_key_that_the_database_lacks_does_not_keep_the_others_from_being_counted(
    key: APIKey, tmp_path: Path
) -> None:
    killed_while_refusing(tmp_path, [*refused(key.pk + 1), *refused(key.pk)])
    one = Tally(tmp_path)
    one.adopt()
    one.write()
    assert overloaded() == {key.pk: 1}
    one.add(*refused(key.pk))
    one.write()
    assert overloaded() == {key.pk: 2}


@pytest.mark.django_db(transaction=True)
class TestThread:
    @pytest.fixture(autouse=True)
    def thread(self, tmp_path: Path) -> Iterator[None]:
        tally.start(tmp_path)
        yield
        tally.stop()

    def test_a_thread_writes_the_sums(self, key: APIKey) -> None:
        other = services.create_key(name="other").key
        for counted in (key, other, key):
            tally.count(counted.pk, Outcome.OVERLOADED)
        wait_for(lambda: overloaded() == {key.pk: 2, other.pk: 1})

    def test_the_end_writes_what_there_is(self, key: APIKey) -> None:
        tally.count(key.pk, Outcome.OVERLOADED)
        tally.stop()
        assert overloaded() == {key.pk: 1}
