"""Settlements that wait for the database, in files that outlive the process.

Each process has one file in the folder and holds it locked with flock, which the kernel releases when the
process ends, however it ends. So a file whose lock is free belongs to a process that has ended, and the next
one adopts it.
"""

import fcntl
import logging
import os
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from accounts.limits.settlement import Settlement

logger = logging.getLogger(__name__)

SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """The file of a process that has ended, locked by this one, and the settlements in it."""

    path: Path
    descriptor: int
    settlements: tuple[Settlement, ...]

    def remove(self) -> None:
        """Delete the file, after its settlements have been written to the database."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def release(self) -> None:
        """Leave the file to another process."""
        os.close(self.descriptor)


class Journal:
    """This process's file, one settlement per line; any thread may use it.

    The file is created with the first settlement and deleted by `close`. Each method may raise OSError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / f"{os.getpid()}-{uuid.uuid4().hex}{SUFFIX}"
        self._descriptor: int | None = None
        self._size = 0
        self._open: set[Settlement] = set()
        self._lock = Lock()

    def add(self, settlement: Settlement) -> None:
        """Write the settlement; it is on the disk when this returns."""
        with self._lock:
            if self._descriptor is None:
                self._descriptor = self._create()
            line = (settlement.to_json() + "\n").encode()
            try:
                if os.write(self._descriptor, line) != len(line):
                    raise OSError("The disk took only a part of the line.")
                os.fsync(self._descriptor)
            except OSError:
                # Half a line would spoil the next one.
                with suppress(OSError):
                    os.ftruncate(self._descriptor, self._size)
                raise
            self._size += len(line)
            self._open.add(settlement)

    def discard(self, settlement: Settlement) -> None:
        """Note that the database has the settlement. The file is emptied when that holds for all of them.

        Until then its line stays: whoever adopts the file finds out that it has been counted.
        """
        with self._lock:
            self._open.discard(settlement)
            if self._descriptor is not None and self._size and not self._open:
                os.ftruncate(self._descriptor, 0)
                self._size = 0

    def adopt(self) -> list[Adopted]:
        """Take over the files of processes that have ended."""
        adopted = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            if path != self._path and (file := _adopt(path)) is not None:
                adopted.append(file)
        return adopted

    def close(self) -> None:
        """Give up the file; what is still in it is left to the next process."""
        with self._lock:
            if self._descriptor is None:
                return
            if not self._size:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _create(self) -> int:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # With a name that no process adopts, until it is locked.
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(self._path)
            _sync_folder(self.folder)
        except OSError:
            os.close(descriptor)
            for path in (draft, self._path):
                path.unlink(missing_ok=True)
            raise
        self._size = 0
        return descriptor


def _adopt(path: Path) -> Adopted | None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None  # Another process has adopted it and is done with it.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have deleted it between the two calls.
        if os.fstat(descriptor).st_nlink:
            with os.fdopen(os.dup(descriptor), encoding="utf-8", errors="replace") as file:
                return Adopted(path=path, descriptor=descriptor, settlements=_parse(path, file.read()))
    except BlockingIOError:
        pass  # Its process lives, or another has adopted it.
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _parse(path: Path, text: str) -> tuple[Settlement, ...]:
    settlements = []
    for line in text.splitlines():
        try:
            settlements.append(Settlement.from_json(line))
        except ValueError:
            # The process was killed while it wrote the line, so the request was not answered yet.
            logger.warning("A line of %s is not complete and is ignored.", path.name)
    return tuple(settlements)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
