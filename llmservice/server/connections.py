"""All connections of a worker: the events that each waits for, and how many and how large they may be."""

import resource
import select
import socket
from collections.abc import Iterator

from llmservice.server.connection import LINGER_S, Connection, Phase

# The database, the log, static files, pipes and what libraries open.
OTHER_DESCRIPTORS = 256
# What incomplete requests may hold of memory, all together.
INCOMING_BYTES = 64 * 1024 * 1024
# Which connections give way to new ones, first to last. Those that are being answered never do.
EVICTION_ORDER = (Phase.LINGERING, Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.FLUSHING)


class Connections:
    """Owned by the worker's loop, as each connection is.

    Args:
        epoll: what the loop waits on.
        at_most: connections that may be open at once; fewer if the process may open fewer descriptors.
        max_body_bytes: the largest body of a request.
    """

    def __init__(self, epoll: select.epoll, *, at_most: int, max_body_bytes: int) -> None:
        self._epoll = epoll
        self._at_most = min(at_most, _descriptors() - OTHER_DESCRIPTORS)
        self._max_incoming_bytes = max(INCOMING_BYTES, 8 * max_body_bytes)
        self._by_descriptor: dict[int, Connection] = {}

    def __len__(self) -> int:
        return len(self._by_descriptor)

    def __iter__(self) -> Iterator[Connection]:
        """Those that are open now; they may be closed meanwhile."""
        return iter(list(self._by_descriptor.values()))

    def get(self, descriptor: int) -> Connection | None:
        """The open connection that has this descriptor."""
        return self._by_descriptor.get(descriptor)

    def add(self, connection: Connection) -> None:
        """Take one that has just been accepted."""
        self._by_descriptor[connection.descriptor] = connection
        self.watch(connection)

    # --- Bounds

    def has_room(self) -> bool:
        """Whether a new connection finds a place, its own or that of one that gives way."""
        return len(self) < self._at_most or self._evictable() is not None

    def make_room(self) -> bool:
        """Close one that gives way if no place is free; false if none does."""
        return len(self) < self._at_most or self.evict()

    def evict(self) -> bool:
        """Close one that gives way to a new one; false if none does."""
        connection = self._evictable()
        if connection is not None:
            self.close(connection)
        return connection is not None

    def bound_memory(self) -> None:
        """Close the connections with the largest incomplete requests while all together hold too much."""
        waiting = [each for each in self if each.phase in (Phase.HEAD, Phase.BODY)]
        held = sum(len(each.incoming) for each in waiting)
        if held <= self._max_incoming_bytes:
            return
        for connection in sorted(waiting, key=lambda each: len(each.incoming), reverse=True):
            held -= len(connection.incoming)
            self.close(connection)
            if held <= self._max_incoming_bytes:
                return

    def _evictable(self) -> Connection | None:
        by_phase: dict[Phase, Connection] = {}
        for connection in self:
            oldest = by_phase.get(connection.phase)
            if oldest is None or connection.since < oldest.since:
                by_phase[connection.phase] = connection
        return next((by_phase[phase] for phase in EVICTION_ORDER if phase in by_phase), None)

    # --- One connection

    def is_open(self, connection: Connection) -> bool:
        """Whether it has not been closed; its descriptor may belong to another one by now."""
        return self._by_descriptor.get(connection.descriptor) is connection

    def watch(self, connection: Connection) -> None:
        """Ask the system for the events that the connection needs now; none if it is broken or closed."""
        if connection.broken:
            return
        mask = select.EPOLLIN if connection.wants_input else 0
        if not connection.outgoing.is_empty:
            mask |= select.EPOLLOUT
        if connection.mask is None:
            self._epoll.register(connection.descriptor, mask)
        elif connection.mask != mask:
            self._epoll.modify(connection.descriptor, mask)
        connection.mask = mask

    def break_off(self, connection: Connection) -> None:
        """The connection is lost. One that a thread uses is closed when the thread is done."""
        connection.broken = True
        connection.outgoing.abort()
        self._unwatch(connection)
        if connection.phase is not Phase.ANSWERING:
            self.close(connection)

    def linger(self, connection: Connection) -> None:
        """Send the end of the answers, and wait for the client to close."""
        connection.enter(Phase.LINGERING, seconds=LINGER_S)
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close(connection)

    def close(self, connection: Connection) -> None:
        """Close it, whatever it does; nothing happens if it is closed already."""
        if not self.is_open(connection):
            return
        del self._by_descriptor[connection.descriptor]
        connection.broken = True
        connection.outgoing.abort()
        self._unwatch(connection)
        connection.socket.close()

    def _unwatch(self, connection: Connection) -> None:
        if connection.mask is not None:
            connection.mask = None
            self._epoll.unregister(connection.descriptor)


def _descriptors() -> int:
    """How many descriptors this process may open, after it has asked for all that it is allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass
    return soft if soft > 0 else 1 << 20
