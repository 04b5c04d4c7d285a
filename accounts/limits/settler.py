"""Writes the accounts of requests to the database without making their clients wait for it.

A thread of the worker writes them. An answer waits for its own account `PATIENCE_S` at most; then the account
is in the journal, the answer leaves, and the thread tries until the database takes it.
"""

import atexit
import logging
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from django.db import DatabaseError, DataError, IntegrityError, InterfaceError, connection

from accounts.limits import admission
from accounts.limits.journal import Adopted, Journal
from accounts.limits.settlement import Settlement
from llmservice.database import return_to_pool
from llmservice.database_file import close_if_replaced

PATIENCE_S = 0.25
BATCH = 100
FIRST_RETRY_S = 0.1
LONGEST_RETRY_S = 2.0
ADOPT_EVERY_S = 60.0
ENDED_WITHIN_S = 2.0

logger = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True)
class _Entry:
    """A settlement that the database does not have.

    `new` says that no attempt to write it can have succeeded, `unkept` that only this process's memory has
    it, `adopted` in whose file it was found.
    """

    settlement: Settlement
    new: bool
    unkept: bool = False
    adopted: Adopted | None = None
    written: threading.Event = field(default_factory=threading.Event)


class Settler:
    """The accounts of a process that wait for the database, and the thread that writes them."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: deque[_Entry] = deque()
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._away = ""  # the database's last error, while it takes nothing
        self._journal_used = False
        self._thread = threading.Thread(target=self._run, name="settle", daemon=True)

    @property
    def waiting(self) -> int:
        """How many accounts the database does not have yet."""
        return len(self._waiting)

    @property
    def behind(self) -> bool:
        """Whether an account has taken longer than `PATIENCE_S`, or is from another process's journal."""
        return self._journal_used

    def start(self) -> None:
        """Start the thread; it begins with what processes that have ended left in their journals."""
        self._thread.start()

    def settle(self, settlement: Settlement) -> None:
        """Return when the account is in the database or in the journal."""
        entry = _Entry(settlement=settlement, new=True)
        with self._changed:
            self._waiting.append(entry)
            self._changed.notify_all()
        if not entry.written.wait(0 if self._away else PATIENCE_S):
            self._keep(entry)

    def stop(self) -> None:
        """End the thread; what the database has not taken stays in the journal."""
        self._ended.set()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(ENDED_WITHIN_S)
        left = list(self._waiting)
        self._keep_again()
        for entry in left:
            if entry.unkept:
                logger.error("This account could neither be written nor kept: %s", entry.settlement.to_json())
        for adopted in {id(one.adopted): one.adopted for one in left if one.adopted is not None}.values():
            adopted.release()
        self._journal.close()

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        adopt_at = 0.0
        while not self._ended.is_set():
            try:
                if time.monotonic() >= adopt_at:
                    adopt_at = time.monotonic() + ADOPT_EVERY_S
                    self._adopt()
                with self._changed:
                    self._changed.wait_for(lambda: self._ended.is_set() or self._waiting, ADOPT_EVERY_S)
                    batch = list(islice(self._waiting, BATCH))
                if not batch or self._write(batch):
                    retry_s = FIRST_RETRY_S
                    continue
                self._keep_again()
            except Exception:
                # Whatever it was: without this thread, no account would be written any more.
                logger.exception("Writing accounts failed.")
            self._ended.wait(retry_s)
            retry_s = min(2 * retry_s, LONGEST_RETRY_S)
        connection.close()

    def _write(self, batch: list[_Entry]) -> bool:
        """Write accounts to the database; False if it takes none now."""
        certain = {entry.settlement for entry in batch if entry.new}
        try:
            close_if_replaced(connection)
            connection.close_if_unusable_or_obsolete()
            connection.ensure_connection()
            for entry in batch:
                entry.new = False
            admission.settle([entry.settlement for entry in batch], new=certain)
        except (IntegrityError, DataError):
            if len(batch) > 1:
                # Nothing of the batch has been written. Each one, whatever becomes of those before it.
                for entry in batch:
                    entry.new = entry.settlement in certain
                return all(list(map(self._write_one, batch)))
            # It would fail again each time.
            logger.exception("This account cannot be written: %s", batch[0].settlement.to_json())
        except (DatabaseError, InterfaceError) as error:
            self._fail(str(error).strip().partition("\n")[0] or type(error).__name__)
            return False
        except Exception as error:
            logger.exception("Writing accounts failed.")
            self._fail(type(error).__name__)
            return False
        self._finish(batch)
        return True

    def _write_one(self, entry: _Entry) -> bool:
        return self._write([entry])

    def _fail(self, reason: str) -> None:
        self._away = reason
        with suppress(Exception):
            connection.close()

    def _finish(self, batch: list[_Entry]) -> None:
        done = set(batch)
        with self._changed:
            self._away = ""
            self._waiting = deque(entry for entry in self._waiting if entry not in done)
            left = list(self._waiting)
            recovered, self._journal_used = self._journal_used and not left, self._journal_used and bool(left)
        still_needed = {id(entry.adopted) for entry in left}
        files = {id(entry.adopted): entry.adopted for entry in batch if entry.adopted is not None}
        for entry in batch:
            entry.written.set()
        try:
            for entry in batch:
                self._journal.discard(entry.settlement)
            # Several entries share a file, which is closed once.
            for number, file in files.items():
                if number not in still_needed:
                    file.remove()
        except OSError as error:
            # The lines that stay are recognised as counted when they are adopted.
            logger.warning("The journal of accounts could not be cleared: %s", error)
        if recovered:
            logger.info("The database has all accounts again.")
        if not left:
            return_to_pool()  # requests need it

    def _keep(self, entry: _Entry) -> None:
        """Write an account to the journal. If it takes none either, memory has to do."""
        with self._changed:
            if entry.written.is_set():
                return
            first, self._journal_used = not self._journal_used, True
        if first:
            logger.warning(
                "The database does not take accounts (%s): they are kept in %s until it does.",
                self._away or f"no answer in {PATIENCE_S} s",
                self._journal.folder,
            )
        try:
            self._journal.add(entry.settlement)
        except OSError as error:
            logger.error(
                "An account can be written neither to the database nor to %s (%s): free space. It is kept in "
                "memory until then, and is lost if the service ends before.",
                self._journal.folder,
                error,
            )
            entry.unkept = True
            return
        entry.unkept = False
        if entry.written.is_set():
            self._journal.discard(entry.settlement)

    def _keep_again(self) -> None:
        for entry in list(self._waiting):
            if entry.unkept:
                self._keep(entry)
                if entry.unkept:
                    return

    def _adopt(self) -> None:
        try:
            files = list(self._journal.adopt())
        except OSError as error:
            logger.error("The accounts in %s cannot be read: %s", self._journal.folder, error)
            return
        for file in files:
            if not file.settlements:
                file.remove()
                continue
            logger.info("Found %d accounts of a process that has ended.", len(file.settlements))
            with self._changed:
                self._journal_used = True
                self._waiting.extend(
                    _Entry(settlement=one, new=False, adopted=file) for one in file.settlements
                )


_settler: Settler | None = None


def start(folder: Path) -> None:
    """Let a thread of this process write accounts from now on, with its journal in the folder."""
    global _settler
    _settler = Settler(Journal(folder))
    _settler.start()
    # After the threads of the web server, which may still end requests.
    atexit.register(stop)


def stop() -> None:
    """End the thread; accounts that the database has not taken stay in the journal."""
    global _settler
    stopped, _settler = _settler, None
    if stopped is not None:
        stopped.stop()


def waiting() -> int:
    """How many accounts of this process wait for the database."""
    return 0 if _settler is None else _settler.waiting


def behind() -> bool:
    """Whether accounts wait because the database is away or slow: no answer should wait for it now."""
    return _settler is not None and _settler.behind


def settle(settlement: Settlement) -> None:
    """Account for a request that has ended. Returns within about `PATIENCE_S`, whatever the database does.

    Without `start`, as in commands and tests, it writes to the database itself, and only logs an error.
    """
    if _settler is not None:
        _settler.settle(settlement)
        return
    try:
        admission.settle([settlement], new=[settlement])
    except DatabaseError:
        logger.exception("This account could not be written: %s", settlement.to_json())
