"""Files of a process that outlive it, and that the next process adopts.

A process holds its file locked with flock, which the kernel releases when the process ends, however it ends.
So a file whose lock is free belongs to a process that has ended.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class OwnedFile:
    """A file that this process holds locked; `descriptor` reads, and appends."""

    path: Path
    descriptor: int

    @property
    def text(self) -> str:
        """All that is in it. Raises OSError."""
        with os.fdopen(os.dup(self.descriptor), encoding="utf-8", errors="replace") as file:
            file.seek(0)
            return file.read()

    def remove(self) -> None:
        """Delete the file. Raises OSError."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)

    def release(self) -> None:
        """Leave the file to another process."""
        os.close(self.descriptor)


def create(folder: Path, suffix: str) -> OwnedFile:
    """A new, empty file in the folder, which is created if necessary. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{os.getpid()}-{uuid.uuid4().hex}{suffix}"
    # With a name that no process adopts, until it is locked.
    draft = path.with_suffix(".new")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.rename(path)
    except OSError:
        os.close(descriptor)
        draft.unlink(missing_ok=True)
        raise
    return OwnedFile(path=path, descriptor=descriptor)


def adopt(folder: Path, suffix: str) -> Iterator[OwnedFile]:
    """Take over the files of processes that have ended, with names that end so. Raises OSError."""
    for path in sorted(folder.glob(f"*{suffix}")):
        if (file := _adopt(path)) is not None:
            yield file


def _adopt(path: Path) -> OwnedFile | None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
    except FileNotFoundError:
        return None  # Another process has adopted it and is done with it.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another process may have deleted it between the two calls.
        if os.fstat(descriptor).st_nlink:
            return OwnedFile(path=path, descriptor=descriptor)
    except BlockingIOError:
        pass  # Its process lives, this one included, or another has adopted it.
    except OSError:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None
