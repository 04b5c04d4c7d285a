"""What is written to one client. The server's loop never waits for it; only a long stream's thread does."""

import os
import socket
import threading
import time
from collections.abc import Callable
from typing import IO

from llmservice.server.pace import Pace

# Ordinary answers stay below it, so their thread is free before a slow client has read them.
HIGH_WATER_BYTES = 1024 * 1024
FILE_BLOCK_BYTES = 256 * 1024


class Outgoing:
    """The answers on one connection: gunicorn's `Response` takes it for the socket.

    Everything may be called by any thread.

    Args:
        connection: non-blocking.
        on_blocked: called, with the lock held, when the rest can only be written later.
    """

    def __init__(self, connection: socket.socket, on_blocked: Callable[[], None]) -> None:
        self._socket = connection
        self._on_blocked = on_blocked
        self._changed = threading.Condition()
        self._pending = bytearray()
        self._file: _FilePart | None = None
        self._held = False
        self._broken = False
        self._pace = Pace(began_at=time.monotonic())

    @property
    def is_empty(self) -> bool:
        """Whether everything has been written."""
        return not self._pending and self._file is None

    def is_late(self, now: float) -> bool:
        """Whether the client takes too slowly what waits for it."""
        return not self.is_empty and self._pace.is_late(now)

    def hold(self) -> None:
        """Keep the next piece until another follows: an answer's head travels with its body."""
        self._held = True

    def flush(self) -> None:
        """Write what is held."""
        with self._changed:
            self._held = False
            self._push()

    def sendall(self, data: bytes) -> None:
        """Write `data`; waits while the client is far behind.

        Raises:
            BrokenPipeError: the connection is closed.
        """
        with self._changed:
            while self._file is not None and not self._broken:
                self._changed.wait()
            if not self._pending:
                self._pace = Pace(began_at=time.monotonic())
            self._pending += data
            if self._held:
                self._held = False
                return
            self._push()
            while len(self._pending) > HIGH_WATER_BYTES and not self._broken:
                self._changed.wait()
            if self._broken:
                raise BrokenPipeError

    def send_interim(self, data: bytes) -> None:
        """Write an interim answer, unless the final one has begun."""
        with self._changed:
            if self._held and self.is_empty:
                self._pace = Pace(began_at=time.monotonic())
                self._pending += data
                self._push()

    def send(self, data: bytes) -> int:
        """As `sendall`; returns the number of bytes."""
        self.sendall(data)
        return len(data)

    def sendfile(self, file: IO[bytes], *, offset: int, count: int) -> int:
        """Write a part of `file` without a thread that waits for the client; the file may be closed at once.

        Raises:
            BrokenPipeError: the connection is closed.
        """
        with self._changed:
            if self._broken:
                raise BrokenPipeError
            self._held = False
            self._file = _FilePart(os.dup(file.fileno()), offset, count)
            self._push()
        return count

    def push(self) -> bool:
        """Write what the client takes now; false once the connection is broken."""
        with self._changed:
            self._push()
            return not self._broken

    def abort(self) -> None:
        """Drop what has not been written, and free the thread that waits to write more."""
        with self._changed:
            self._break()

    def _push(self) -> None:
        try:
            while self._pending and not self._broken:
                sent = self._socket.send(self._pending)
                del self._pending[:sent]
                self._took(sent)
            while self._file is not None and not self._pending and not self._broken:
                sent = self._file.send(self._socket.fileno())
                if not sent:
                    self._file.close()
                    self._file = None
                self._took(sent)
        except BlockingIOError:
            self._on_blocked()
        except OSError:
            self._break()

    def _took(self, count: int) -> None:
        self._pace.take(count, now=time.monotonic())
        self._changed.notify_all()

    def _break(self) -> None:
        self._broken = True
        self._pending.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._changed.notify_all()


class _FilePart:
    """Bytes of a file that are still to be sent."""

    def __init__(self, descriptor: int, offset: int, count: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._count = count

    def send(self, to: int) -> int:
        """Send a block; returns the number of bytes, 0 once there is nothing left."""
        if self._count <= 0:
            return 0
        sent = os.sendfile(to, self._descriptor, self._offset, min(self._count, FILE_BLOCK_BYTES))
        self._offset += sent
        self._count -= sent
        if not sent:  # the file has become shorter; only closing the connection can say so
            raise BrokenPipeError
        return sent

    def close(self) -> None:
        os.close(self._descriptor)
