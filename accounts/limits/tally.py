"""Requests refused for want of room, counted in the usage of their keys without a wait for the database.

There are most of them when there is least time. So each is added up in memory, and a thread of the worker
writes the sums. A worker that is killed loses those of its last second; nobody is charged for them.
"""

import atexit
import logging
import threading
from collections import Counter
from datetime import date

from django.db import DatabaseError, InterfaceError, connection, transaction
from django.utils import timezone

from accounts.limits import endpoint, ledger
from accounts.limits.policy import day_of
from accounts.models import Outcome
from llmservice.database import return_to_pool
from llmservice.http import request_record

_WRITTEN_EVERY_S = 1.0
_Counted = tuple[int, date, str, Outcome]

logger = logging.getLogger(__name__)
_lock = threading.Lock()
_counts: Counter[_Counted] = Counter()
_ended = threading.Event()
_thread: threading.Thread | None = None


def count(key_id: int, outcome: Outcome) -> None:
    """Count the request that this thread answers; it has used nothing, and is in the usage in a second."""
    if (record := request_record.current()) is not None:
        record.outcome = outcome.value
    with _lock:
        _counts[key_id, day_of(timezone.now()), endpoint.current(), outcome] += 1
    if _thread is None:
        write()


def write() -> None:
    """Write what has been counted. What the database does not take now is kept for the next time."""
    with _lock:
        counted = _counts.copy()
        _counts.clear()
    if not counted:
        return
    try:
        with transaction.atomic():
            for (key_id, day, at, outcome), count in sorted(counted.items()):
                ledger.account(key_id, day, at, outcome, count=count)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("Refused requests were not counted yet: %s", error)
        connection.close()
        with _lock:
            _counts.update(counted)


def start() -> None:
    """Let a thread of this process write the sums from now on."""
    global _thread
    _ended.clear()
    _thread = threading.Thread(target=_run, name="tally", daemon=True)
    _thread.start()
    atexit.register(stop)


def stop() -> None:
    """End the thread, once it has written what there is."""
    global _thread
    stopped, _thread = _thread, None
    if stopped is not None:
        _ended.set()
        stopped.join(2 * _WRITTEN_EVERY_S)


def _run() -> None:
    while not _ended.wait(_WRITTEN_EVERY_S):
        _write_surely()
    _write_surely()
    connection.close()


def _write_surely() -> None:
    try:
        write()
    except Exception:
        logger.exception("Counting refused requests failed.")
    finally:
        return_to_pool()
