"""Settlements that wait for the database, in files that outlive the process (`owned_file`)."""

import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from accounts.limits import owned_file
from accounts.limits.owned_file import OwnedFile
from accounts.limits.settlement import Settlement

logger = logging.getLogger(__name__)

SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class Adopted:
    """The file of a process that has ended, locked by this one, and the settlements in it."""

    file: OwnedFile
    settlements: tuple[Settlement, ...]

    def remove(self) -> None:
        """Delete the file, after its settlements have been written to the database."""
        self.file.remove()

    def release(self) -> None:
        """Leave the file to another process."""
        self.file.release()


class Journal:
    """This process's file, one settlement per line; any thread may use it.

    The file is created with the first settlement and deleted by `close`. Each method may raise OSError.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: OwnedFile | None = None
        self._size = 0
        self._open: set[Settlement] = set()
        self._lock = Lock()

    def add(self, settlement: Settlement) -> None:
        """Write the settlement; it is on the disk when this returns."""
        with self._lock:
            if self._file is None:
                self._file = self._create()
            descriptor = self._file.descriptor
            line = (settlement.to_json() + "\n").encode()
            try:
                if os.write(descriptor, line) != len(line):
                    raise OSError("The disk took only a part of the line.")
                os.fsync(descriptor)
            except OSError:
                # Half a line would spoil the next one.
                with suppress(OSError):
                    os.ftruncate(descriptor, self._size)
                raise
            self._size += len(line)
            self._open.add(settlement)

    def discard(self, settlement: Settlement) -> None:
        """Note that the database has the settlement. The file is emptied when that holds for all of them.

        Until then its line stays: whoever adopts the file finds out that it has been counted.
        """
        with self._lock:
            self._open.discard(settlement)
            if self._file is not None and self._size and not self._open:
                os.ftruncate(self._file.descriptor, 0)
                self._size = 0

    def adopt(self) -> Iterator[Adopted]:
        """Take over the files of processes that have ended."""
        for file in owned_file.adopt(self.folder, SUFFIX):
            try:
                text = file.text
            except OSError:
                file.release()
                raise
            yield Adopted(file=file, settlements=_parse(file.path, text))

    def close(self) -> None:
        """Give up the file; what is still in it is left to the next process."""
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            if self._size:
                file.release()
            else:
                file.remove()

    def _create(self) -> OwnedFile:
        file = owned_file.create(self.folder, SUFFIX)
        try:
            _sync_folder(self.folder)
        except OSError:
            file.remove()
            raise
        self._size = 0
        return file


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
