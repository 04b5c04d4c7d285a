"""gunicorn's worker: one loop reads requests and sends answers, and threads answer them (`answering`).

A connection costs a thread only from the moment its request has arrived completely until the answer is
handed to the loop. So slow or idle clients cost a descriptor and some memory each, but never a thread, and
closing never waits.
"""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from gunicorn.http import errors
from gunicorn.workers import base

from llmservice import readiness
from llmservice.http import openai_error
from llmservice.server import refusals
from llmservice.server.answering import Answering
from llmservice.server.connection import INTERIM, LINGER_S, Connection, Phase
from llmservice.server.connections import Connections

ACCEPTED_AT_ONCE = 32
ENDED_AT_ONCE = 32
# What the system holds for a client beyond what is on its way. With its default of megabytes, a client that
# reads steadily at 20 KB/s would seem to pause for longer than it may.
UNSENT_BYTES = 128 * 1024
SWEEP_EVERY_S = 0.25
DRAIN_MARGIN_S = 3.0
BROKEN = select.EPOLLHUP | select.EPOLLERR


class Worker(base.Worker):  # type: ignore[misc]
    """Serves the listening sockets that gunicorn's master process has opened."""

    alive: bool
    sockets: list[socket.socket]

    def init_process(self) -> None:
        self._epoll = select.epoll()
        self._accepting = False
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._answering = Answering(self, on_answered=self._answered_later)
        super().init_process()

    # --- The loop

    def notify(self) -> None:
        """Tell the master process that the loop runs, and the other workers whether this one can generate."""
        super().notify()
        readiness.WORKERS.declare(self.age, ready=self.alive and readiness.can_generate())

    def run(self) -> None:
        """Serve until the worker is told to end, then answer what has been received."""
        from django.conf import settings

        self._max_body_bytes: int = settings.MAX_BODY_BYTES
        self._connections = Connections(
            self._epoll, at_most=self.cfg.worker_connections, max_body_bytes=self._max_body_bytes
        )
        self._epoll.register(self._wake, select.EPOLLIN)
        self._epoll.register(self.PIPE[0], select.EPOLLIN)
        self.set_accept_enabled(True)
        sweep_at = 0.0
        drained_at = None
        while True:
            if self.alive and self.ppid != os.getppid():
                self.log.info("Parent changed, shutting down: %s", self)
                self.alive = False
            if not self.alive:
                if drained_at is None:
                    # Before gunicorn kills the worker, which has accounts to write then.
                    drained_at = time.monotonic() + max(1.0, self.cfg.graceful_timeout - DRAIN_MARGIN_S)
                    self._begin_drain()
                if not self._connections or time.monotonic() > drained_at:
                    break
            # After a second in any case: gunicorn's master process wants to hear of the worker.
            wait = max(0.0, sweep_at - time.monotonic()) if self._connections else 1.0
            self._dispatch(self._epoll.poll(wait))
            while self._calls:
                self._calls.popleft()()
            if (now := time.monotonic()) >= sweep_at:
                sweep_at = now if self._sweep(now) else now + SWEEP_EVERY_S
        for connection in self._connections:
            self._connections.close(connection)
        self._answering.end()

    def _dispatch(self, ready: list[tuple[int, int]]) -> None:
        listeners = {listener.fileno(): listener for listener in self.sockets}
        for descriptor, events in ready:
            if (connection := self._connections.get(descriptor)) is not None:
                self._guard(connection, partial(self._serve, connection, events))
            elif descriptor == self._wake:
                os.eventfd_read(self._wake)
            elif descriptor == self.PIPE[0]:
                os.read(descriptor, 4096)  # a signal, whose handler has run
        # Last: a new connection may get the descriptor of one that has just been closed, but not its events.
        for descriptor, _ in ready:
            if descriptor in listeners:
                self.accept(listeners[descriptor])

    def _guard(self, connection: Connection, call: Callable[[], None]) -> None:
        """Have a failure end one connection, not the loop."""
        try:
            call()
        except OSError:
            self._connections.break_off(connection)
        except Exception:
            self.log.exception("Serving a connection failed.")
            self._connections.break_off(connection)

    def _serve(self, connection: Connection, events: int) -> None:
        if events & select.EPOLLOUT and not connection.outgoing.push():
            events |= BROKEN
        if events & BROKEN:
            self._connections.break_off(connection)
            return
        if events & select.EPOLLIN and connection.wants_input:
            connection.receive()
        self._advance(connection)

    def _advance(self, connection: Connection) -> None:
        """Take the connection as far as it gets without waiting."""
        if connection.phase in (Phase.IDLE, Phase.HEAD, Phase.BODY):
            self._read_request(connection)
        if connection.phase is Phase.FLUSHING and connection.outgoing.is_empty:
            if connection.keep_alive:
                seconds = self.cfg.keepalive if self.alive else LINGER_S
                connection.enter(Phase.IDLE, seconds=seconds)
                self._read_request(connection)
            else:
                self._connections.linger(connection)
        if connection.phase is Phase.LINGERING and connection.half_closed:
            self._connections.close(connection)
        else:
            self._connections.watch(connection)

    def _sweep(self, now: float) -> bool:
        """End what is late; true if some is left for the next turn, so that the others are not delayed."""
        self.notify()
        late = [each for each in self._connections if each.is_late(now)]
        for connection in late[:ENDED_AT_ONCE]:
            if connection.phase is Phase.HEAD:
                self._refuse(connection, 408, reason="the head took too long")
            elif connection.phase is Phase.BODY:
                self._refuse(connection, 408, reason="the body took too long")
            elif connection.phase is Phase.ANSWERING:
                self._connections.break_off(connection)
            else:
                self._connections.close(connection)
        self._connections.bound_memory()
        if self.alive:
            self.set_accept_enabled(self._connections.has_room())
        return len(late) > ENDED_AT_ONCE

    # --- Connections

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take new connections from now on, or none; a worker that loads leaves them to ready ones."""
        enabled = enabled and self.alive and readiness.may_accept(self.age)
        if enabled == self._accepting:
            return
        self._accepting = enabled
        for listener in self.sockets:
            if enabled:
                listener.setblocking(False)
                self._epoll.register(listener.fileno(), select.EPOLLIN)
            else:
                self._epoll.unregister(listener.fileno())

    def _begin_drain(self) -> None:
        self.set_accept_enabled(False)
        # gunicorn keeps them open until it exits, and a new client would wait for an answer in vain.
        for listener in self.sockets:
            listener.close()
        self.sockets = []
        for connection in self._connections:
            # Its client may be sending a request already.
            if connection.phase is Phase.IDLE:
                connection.deadline = min(connection.deadline, time.monotonic() + LINGER_S)

    def accept(self, listener: socket.socket) -> None:
        """Take the connections that wait: several at once, unless other workers would take some of them."""
        if not readiness.may_accept(self.age):
            self.set_accept_enabled(False)
            return
        for _ in range(ACCEPTED_AT_ONCE if self.cfg.workers == 1 else 1):
            if not self._connections.make_room():
                self.set_accept_enabled(False)
                return
            try:
                accepted, peer = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Descriptors of the process or the machine have run out.
                self.log.warning("A connection could not be accepted: %s", error.strerror)
                if not self._connections.evict():
                    self.set_accept_enabled(False)
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            connection = Connection(
                accepted,
                peer,
                config=self.cfg,
                max_body_bytes=self._max_body_bytes,
                on_blocked=self._watch_later,
            )
            self._connections.add(connection)

    def _watch_later(self, connection: Connection) -> None:
        self._call(partial(self._connections.watch, connection))

    # --- Requests

    def _read_request(self, connection: Connection) -> None:
        incoming = connection.incoming
        try:
            message = incoming.take()
        except errors.ParseException as error:
            status = refusals.status_of(error)
            # A malformed header may contain a secret, so the log has only the type of the error.
            self.log.warning('%s "%s" %d', connection.peer[0], type(error).__name__, status)
            self._refuse(connection, status, reason=str(error), detail=getattr(error, "detail", None))
            return
        if message is not None:
            connection.begin_answer(http_10=message.request.version < (1, 1))
            self._answering.begin(connection, message)
        elif connection.half_closed:
            self._connections.close(connection)
        elif incoming.in_body:
            if connection.phase is not Phase.BODY:
                connection.begin_body()
            if incoming.take_expectation():
                connection.outgoing.sendall(INTERIM)
        elif len(incoming) and connection.phase is Phase.IDLE:
            connection.begin_head()

    def _refuse(self, connection: Connection, status: int, *, reason: str, detail: str | None = None) -> None:
        connection.keep_alive = False
        connection.enter(Phase.FLUSHING)
        try:
            openai_form = openai_error.is_form_of(connection.incoming.path)
            connection.outgoing.sendall(
                refusals.answer(status, openai_form=openai_form, reason=reason, detail=detail)
            )
        except OSError:
            self._connections.break_off(connection)
            return
        if connection.outgoing.is_empty:
            self._connections.linger(connection)
        self._connections.watch(connection)

    def _call(self, call: Callable[[], None]) -> None:
        """Have the loop call it."""
        self._calls.append(call)
        os.eventfd_write(self._wake, 1)

    def _answered_later(self, connection: Connection, keep_alive: bool) -> None:
        self._call(lambda: self._answered(connection, keep_alive=keep_alive))

    def _answered(self, connection: Connection, *, keep_alive: bool) -> None:
        if not self._connections.is_open(connection):
            return
        connection.keep_alive = keep_alive
        connection.enter(Phase.FLUSHING)
        if connection.broken:
            self._connections.close(connection)
            return
        self._guard(connection, lambda: self._advance(connection))
