"""One client's connection: what phase it is in, until when, and whether its client is still there."""

import socket
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from llmservice.server.incoming import Incoming
from llmservice.server.outgoing import Outgoing

HEAD_S = 10.0
BODY_S = 10.0
# A body has BODY_S, and a second more for each of this many bytes that have arrived.
BODY_BYTES_PER_S = 8192
# How long a client has to close after its answer. Closing at once would destroy what it has not yet read.
LINGER_S = 2.0
RECEIVE_BYTES = 64 * 1024
# What a client sends ahead while its request is answered.
AHEAD_BYTES = 64 * 1024
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
# Pauses between interim answers to a half-closed client, in seconds. Go's client accepts five of them.
# Docker's proxy takes three to tell that its client is gone, so they follow each other soon.
PROBE_PAUSES_S = (0.0, 0.5, 0.5, 16.0)


class Phase(Enum):
    """What a connection does."""

    IDLE = auto()
    """No byte of a request has arrived."""
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    """A thread answers its request, or will."""
    FLUSHING = auto()
    """Its answer is complete, and is being sent."""
    LINGERING = auto()
    """Its answer is sent, and the client is to close."""


class Connection:
    """The server's loop owns everything but `outgoing` and `client_gone`, which any thread may use.

    Args:
        connection: accepted and non-blocking.
        peer: the client's address and port.
        config: gunicorn's configuration.
        max_body_bytes: a larger body is not waited for.
        on_blocked: called when `outgoing` has to wait for the client.
    """

    def __init__(
        self,
        connection: socket.socket,
        peer: Any,
        *,
        config: Any,
        max_body_bytes: int,
        on_blocked: Callable[["Connection"], None],
    ) -> None:
        self.socket = connection
        self.descriptor = connection.fileno()
        self.peer = peer
        self.server = connection.getsockname()
        self.incoming = Incoming(config, peer, max_body_bytes=max_body_bytes)
        self.outgoing = Outgoing(connection, lambda: on_blocked(self))
        self.phase = Phase.IDLE
        self.since = time.monotonic()
        """When the phase began."""
        self.deadline = self.since + HEAD_S
        self.keep_alive = False
        self.half_closed = False
        self.broken = False
        self.http_10 = False
        self.mask: int | None = None
        """The events that the loop has asked the system for; None if it is not watched."""
        self._probes = 0
        self._probe_at = 0.0

    def enter(self, phase: Phase, *, seconds: float = float("inf")) -> None:
        """Begin a phase that may last so long."""
        self.phase = phase
        self.since = time.monotonic()
        self.deadline = self.since + seconds

    def receive(self) -> None:
        """Read once what has arrived.

        Raises:
            OSError: the connection is broken.
        """
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            self.half_closed = True
            self.incoming.ended = True
        elif self.phase is not Phase.LINGERING:
            self.incoming.feed(data)

    @property
    def wants_input(self) -> bool:
        """Whether the loop is to read."""
        if self.half_closed or self.broken:
            return False
        if self.phase in (Phase.ANSWERING, Phase.FLUSHING):
            return len(self.incoming) < AHEAD_BYTES
        return True

    def is_late(self, now: float) -> bool:
        """Whether its phase has lasted too long."""
        if self.phase is Phase.BODY:
            return now > self.deadline + len(self.incoming) / BODY_BYTES_PER_S
        if self.phase in (Phase.ANSWERING, Phase.FLUSHING):
            return self.outgoing.is_late(now)
        return now > self.deadline

    def begin_head(self) -> None:
        """The first bytes of a request have arrived."""
        self.enter(Phase.HEAD, seconds=HEAD_S)

    def begin_body(self) -> None:
        """The head of a request has arrived completely."""
        self.enter(Phase.BODY, seconds=BODY_S)

    def begin_answer(self, *, http_10: bool) -> None:
        """A request is handed to a thread."""
        self.enter(Phase.ANSWERING)
        self.http_10 = http_10
        self._probes = 0
        self._probe_at = 0.0

    def client_gone(self) -> bool:
        """Whether nobody will read the answer. It may be asked repeatedly while an answer is awaited.

        A client that has only closed its own side still waits. It takes an interim answer, while the system
        of one that is gone resets the connection, which is known the next time. HTTP/1.0 has no interim
        answers, so there a closed side counts as gone.
        """
        if self.broken:
            return True
        if not self.half_closed:
            return False
        if self.http_10:
            return True
        now = time.monotonic()
        if self._probes < len(PROBE_PAUSES_S) and now >= self._probe_at + PROBE_PAUSES_S[self._probes]:
            self._probes += 1
            self._probe_at = now
            self.outgoing.send_interim(INTERIM)
        return self.broken
