"""Refused requests that reserve nothing, counted in the usage of their keys without a wait for the database.

There are most of them when there is least time, and the database may be away. So each is added up in memory,
and a thread of the worker writes the sums. Before its answer leaves, it is in a file as well, from which the
next worker counts it if this one is killed.
"""

import atexit
import logging
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connection, transaction
from django.utils import timezone

from accounts.limits import endpoint, ledger, owned_file, tally_file
from accounts.limits.owned_file import OwnedFile
from accounts.limits.policy import day_of
from accounts.limits.tally_file import Counted
from accounts.models import APIKey, Outcome, Tallied
from llmservice.database import return_to_pool
from llmservice.database_file import close_if_replaced
from llmservice.http import request_record

WRITTEN_EVERY_S = 1.0
ADOPT_EVERY_S = 60.0
# Names of files that vanished with their disk stay in the database for so long.
NAMES_KEPT = timedelta(days=90)

logger = logging.getLogger(__name__)


@dataclass(kw_only=True)
class _Batch:
    """What is written in one transaction; `file` has it too, unless there is no file."""

    counts: Counter[Counted] = field(default_factory=Counter)
    file: OwnedFile | None = None


class Tally:
    """What a process has refused and the database does not have, and the thread that writes it.

    Args:
        folder: for the files; without one, nothing outlives the process.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._now = _Batch()
        self._waiting: deque[_Batch] = deque()
        self._writing = threading.Lock()
        self._unkept = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)

    def start(self) -> None:
        """Start the thread; it begins with what processes that have ended left."""
        self._now.file = self._new_file()
        self._thread.start()

    def stop(self) -> None:
        """End the thread, once it has written what there is; the rest stays in the files."""
        self._ended.set()
        self._thread.join(2 * WRITTEN_EVERY_S)
        if self._thread.is_alive():
            return  # The files are still its own, until the process ends.
        for batch in (*self._waiting, self._now):
            if batch.file is not None and batch.counts:
                batch.file.release()
            elif batch.file is not None:
                _remove(batch.file)

    def add(self, one: Counted) -> None:
        """Count one request; it outlives the process when this returns."""
        with self._lock:
            self._now.counts[one] += 1
            if self._now.file is None:
                return
            try:
                tally_file.add(self._now.file, one)
            except OSError as error:
                self._warn(error)
            else:
                self._unkept = False

    def write(self) -> None:
        """Write what has been counted. What the database does not take now is kept for the next time."""
        with self._writing:
            if self._now.counts:
                further = _Batch(file=self._new_file())
                with self._lock:
                    batch, self._now = self._now, further
                self._waiting.append(batch)
            while self._waiting and _write(self._waiting[0]):
                _finish(self._waiting.popleft())

    def adopt(self) -> None:
        """Let the next `write` count what processes that have ended left in their files. Raises OSError."""
        if self._folder is None:
            return
        for file in owned_file.adopt(self._folder, tally_file.SUFFIX):
            try:
                counts = tally_file.read(file)
            except OSError:
                file.release()
                raise
            if counts:
                logger.info("Found %d refused requests of a process that has ended.", counts.total())
                self._waiting.append(_Batch(counts=counts, file=file))
            else:
                _remove(file)

    def _new_file(self) -> OwnedFile | None:
        if self._folder is None:
            return None
        try:
            return tally_file.create(self._folder)
        except OSError as error:
            self._warn(error)
            return None

    def _warn(self, error: OSError) -> None:
        if not self._unkept:
            self._unkept = True
            logger.error(
                "Refused requests cannot be kept in %s (%s): free space. Those of the last second are not "
                "counted if the service is killed.",
                self._folder,
                error,
            )

    def _run(self) -> None:
        adopt_at = forget_at = 0.0
        while True:
            ended = self._ended.is_set()
            try:
                close_if_replaced(connection)
                if time.monotonic() >= adopt_at:
                    adopt_at = time.monotonic() + ADOPT_EVERY_S
                    self.adopt()
                if time.monotonic() >= forget_at:
                    forget_at = time.monotonic() + NAMES_KEPT.total_seconds()
                    Tallied.objects.filter(at__lt=timezone.now() - NAMES_KEPT).delete()
                self.write()
            except Exception:
                logger.exception("Counting refused requests failed.")
            finally:
                return_to_pool()
            if ended:
                break
            self._ended.wait(WRITTEN_EVERY_S)
        connection.close()


def _write(batch: _Batch) -> bool:
    """Write the batch to the database; False if it takes none now."""
    try:
        try:
            _account(batch)
        except (IntegrityError, DataError):
            _account(batch, one_by_one=True)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Refused requests were not counted yet: %s", error)
        connection.close()
        return False
    return True


def _account(batch: _Batch, *, one_by_one: bool = False) -> None:
    """Add the batch to the usage, unless an attempt whose end was not known has done so.

    Args:
        one_by_one: leave out what the database refuses, for instance if it was restored and lacks the key.
    """
    with transaction.atomic():
        if batch.file is not None and not ledger.tally(batch.file.path.name, at=timezone.now()):
            return
        if not one_by_one:
            for one, count in sorted(batch.counts.items()):
                ledger.account(*one, count=count)
            return
        keys = APIKey.objects.filter(pk__in={one.key_id for one in batch.counts})
        known = set(keys.values_list("pk", flat=True))
        for one, count in sorted(batch.counts.items()):
            try:
                if one.key_id not in known:
                    raise IntegrityError("The key does not exist.")
                with transaction.atomic():
                    ledger.account(*one, count=count)
            except (IntegrityError, DataError) as error:
                logger.error("%d refused requests cannot be counted: %s: %s", count, one, error)


def _finish(batch: _Batch) -> None:
    """Delete the file of a batch that has been written, and then its name: until then, it must not count."""
    if batch.file is not None and _remove(batch.file):
        Tallied.objects.filter(pk=batch.file.path.name).delete()


def _remove(file: OwnedFile) -> bool:
    try:
        file.remove()
    except OSError as error:
        logger.warning("%s cannot be deleted: %s", file.path, error)
        with suppress(OSError):
            file.release()
        return False
    return True


_tally = Tally()
_started: Tally | None = None


def count(key_id: int, outcome: Outcome) -> None:
    """Count the request that this thread answers; it has used nothing, and is in the usage in a second.

    Without `start`, as in commands and tests, it is written to the database at once.
    """
    if (record := request_record.current()) is not None:
        record.outcome = outcome.value
    one = Counted(key_id, day_of(timezone.now()), endpoint.current(), outcome)
    if _started is not None:
        _started.add(one)
    else:
        _tally.add(one)
        _tally.write()


def start(folder: Path) -> None:
    """Let a thread of this process write the sums from now on, with its files in the folder."""
    global _started
    _started = Tally(folder)
    _started.start()
    atexit.register(stop)


def stop() -> None:
    """End the thread, once it has written what there is."""
    global _started
    stopped, _started = _started, None
    if stopped is not None:
        stopped.stop()
