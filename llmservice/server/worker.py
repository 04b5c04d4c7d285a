"""gunicorn's worker: one loop reads requests and sends answers, and threads answer them.

A connection costs a thread only from the moment its request has arrived completely until the answer is
handed to the loop. So slow or idle clients cost a descriptor and some memory each, but never a thread, and
closing never waits.
"""

import os
import resource
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from gunicorn.http import errors, wsgi
from gunicorn.workers import base

from llmservice import readiness
from llmservice.http import openai_error
from llmservice.server import refusals
from llmservice.server.connection import INTERIM, LINGER_S, Connection, Phase
from llmservice.server.incoming import Message

PROBES = frozenset({"/health", "/ready", "/metrics"})
PROBE_THREADS = 4
"""Threads that answer nothing but PROBES, so these answer while every other thread is busy."""
# The database, the log, static files, pipes and what libraries open.
OTHER_DESCRIPTORS = 256
# What incomplete requests may hold of memory, all together.
INCOMING_BYTES = 64 * 1024 * 1024
ACCEPTED_AT_ONCE = 32
ENDED_AT_ONCE = 32
SWEEP_EVERY_S = 0.25
DRAIN_MARGIN_S = 3.0
# Which connections give way to new ones, first to last. Those that are being answered never do.
EVICTION_ORDER = (Phase.LINGERING, Phase.IDLE, Phase.HEAD, Phase.BODY, Phase.FLUSHING)
BROKEN = select.EPOLLHUP | select.EPOLLERR


class Worker(base.Worker):  # type: ignore[misc]
    """Serves the listening sockets that gunicorn's master process has opened."""

    alive: bool
    sockets: list[socket.socket]

    def init_process(self) -> None:
        self.connections: dict[int, Connection] = {}
        self._epoll = select.epoll()
        self._accepting = False
        self._calls: deque[Callable[[], None]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._threads = ThreadPoolExecutor(self.cfg.threads, thread_name_prefix="request")
        self._probe_threads = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="probe")
        self._max_connections = min(self.cfg.worker_connections, _descriptors() - OTHER_DESCRIPTORS)
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
        self._max_incoming_bytes = max(INCOMING_BYTES, 8 * self._max_body_bytes)
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
                if not self.connections or time.monotonic() > drained_at:
                    break
            # After a second in any case: gunicorn's master process wants to hear of the worker.
            wait = max(0.0, sweep_at - time.monotonic()) if self.connections else 1.0
            self._dispatch(self._epoll.poll(wait))
            while self._calls:
                self._calls.popleft()()
            if (now := time.monotonic()) >= sweep_at:
                sweep_at = now if self._sweep(now) else now + SWEEP_EVERY_S
        for connection in list(self.connections.values()):
            self._close(connection)
        self._threads.shutdown(wait=False)
        self._probe_threads.shutdown(wait=False)

    def _dispatch(self, ready: list[tuple[int, int]]) -> None:
        listeners = {listener.fileno(): listener for listener in self.sockets}
        for descriptor, events in ready:
            if (connection := self.connections.get(descriptor)) is not None:
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
            self._break(connection)
        except Exception:
            self.log.exception("Serving a connection failed.")
            self._break(connection)

    def _serve(self, connection: Connection, events: int) -> None:
        if events & select.EPOLLOUT and not connection.outgoing.push():
            events |= BROKEN
        if events & BROKEN:
            self._break(connection)
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
                self._linger(connection)
        if connection.phase is Phase.LINGERING and connection.half_closed:
            self._close(connection)
        else:
            self._watch(connection)

    def _sweep(self, now: float) -> bool:
        """End what is late; true if some is left for the next turn, so that the others are not delayed."""
        self.notify()
        late = [each for each in self.connections.values() if each.is_late(now)]
        for connection in late[:ENDED_AT_ONCE]:
            if connection.phase is Phase.HEAD:
                self._refuse(connection, 408, reason="the head took too long")
            elif connection.phase is Phase.BODY:
                self._refuse(connection, 408, reason="the body took too long")
            elif connection.phase is Phase.ANSWERING:
                self._break(connection)
            else:
                self._close(connection)
        self._bound_memory()
        if self.alive:
            full = len(self.connections) >= self._max_connections
            self.set_accept_enabled(not full or self._evictable() is not None)
        return len(late) > ENDED_AT_ONCE

    def _bound_memory(self) -> None:
        """Close the connections with the largest incomplete requests while all together hold too much."""
        waiting = [each for each in self.connections.values() if each.phase in (Phase.HEAD, Phase.BODY)]
        held = sum(len(each.incoming) for each in waiting)
        if held <= self._max_incoming_bytes:
            return
        for connection in sorted(waiting, key=lambda each: len(each.incoming), reverse=True):
            held -= len(connection.incoming)
            self._close(connection)
            if held <= self._max_incoming_bytes:
                return

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
        for connection in self.connections.values():
            # Its client may be sending a request already.
            if connection.phase is Phase.IDLE:
                connection.deadline = min(connection.deadline, time.monotonic() + LINGER_S)

    def may_keep_alive(self) -> bool:
        """Whether a connection is kept for the client's next request.

        A connection to a worker that cannot generate would keep its client from those that can.
        """
        return self.alive and self.cfg.keepalive > 0 and readiness.can_generate()

    def accept(self, listener: socket.socket) -> None:
        """Take the connections that wait: several at once, unless other workers would take some of them."""
        if not readiness.may_accept(self.age):
            self.set_accept_enabled(False)
            return
        for _ in range(ACCEPTED_AT_ONCE if self.cfg.workers == 1 else 1):
            if len(self.connections) >= self._max_connections and not self._evict():
                self.set_accept_enabled(False)
                return
            try:
                accepted, peer = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:
                # Descriptors of the process or the machine have run out.
                self.log.warning("A connection could not be accepted: %s", error.strerror)
                if not self._evict():
                    self.set_accept_enabled(False)
                return
            accepted.setblocking(False)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(
                accepted,
                peer,
                config=self.cfg,
                max_body_bytes=self._max_body_bytes,
                on_blocked=self._watch_later,
            )
            self.connections[connection.descriptor] = connection
            self._watch(connection)

    def _evictable(self) -> Connection | None:
        by_phase: dict[Phase, Connection] = {}
        for connection in self.connections.values():
            oldest = by_phase.get(connection.phase)
            if oldest is None or connection.since < oldest.since:
                by_phase[connection.phase] = connection
        return next((by_phase[phase] for phase in EVICTION_ORDER if phase in by_phase), None)

    def _evict(self) -> bool:
        connection = self._evictable()
        if connection is not None:
            self._close(connection)
        return connection is not None

    def _watch(self, connection: Connection) -> None:
        """Ask the system for the events that the connection needs now."""
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

    def _watch_later(self, connection: Connection) -> None:
        self._call(lambda: self._watch(connection) if self._is_open(connection) else None)

    def _is_open(self, connection: Connection) -> bool:
        return self.connections.get(connection.descriptor) is connection

    def _unwatch(self, connection: Connection) -> None:
        if connection.mask is not None:
            connection.mask = None
            self._epoll.unregister(connection.descriptor)

    def _break(self, connection: Connection) -> None:
        """The connection is lost. One that a thread uses is closed when the thread is done."""
        connection.broken = True
        connection.outgoing.abort()
        self._unwatch(connection)
        if connection.phase is not Phase.ANSWERING:
            self._close(connection)

    def _linger(self, connection: Connection) -> None:
        connection.enter(Phase.LINGERING, seconds=LINGER_S)
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        if not self._is_open(connection):
            return
        del self.connections[connection.descriptor]
        connection.broken = True
        connection.outgoing.abort()
        self._unwatch(connection)
        connection.socket.close()

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
            pool = self._probe_threads if message.request.path in PROBES else self._threads
            pool.submit(self._answer, connection, message)
        elif connection.half_closed:
            self._close(connection)
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
            self._break(connection)
            return
        if connection.outgoing.is_empty:
            self._linger(connection)
        if self._is_open(connection):
            self._watch(connection)

    def _call(self, call: Callable[[], None]) -> None:
        """Have the loop call it."""
        self._calls.append(call)
        os.eventfd_write(self._wake, 1)

    def _answer(self, connection: Connection, message: Message) -> None:
        """Answer one request, in a thread."""
        keep_alive = False
        try:
            keep_alive = self._respond(connection, message)
        except OSError:
            self.log.debug("The client has closed the connection.")
        except Exception:
            self.log.exception("Answering a request failed.")
        finally:
            self._call(lambda: self._answered(connection, keep_alive=keep_alive))

    def _respond(self, connection: Connection, message: Message) -> bool:
        request, outgoing = message.request, connection.outgoing
        self.cfg.pre_request(self, request)
        response, environ = wsgi.create(request, outgoing, connection.peer, connection.server, self.cfg)
        message.replace_body(environ)
        environ |= {"wsgi.multithread": True, "llmservice.client_gone": connection.client_gone}
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        if connection.half_closed or not self.may_keep_alive():
            response.force_close()
        outgoing.hold()
        try:
            answer = self.wsgi(environ, response.start_response)
            try:
                if isinstance(answer, environ["wsgi.file_wrapper"]):
                    response.write_file(answer)
                else:
                    for piece in answer:
                        response.write(piece)
                response.close()
                outgoing.flush()
            finally:
                if hasattr(answer, "close"):
                    answer.close()
        except OSError:
            raise
        except Exception:
            if not response.headers_sent:
                outgoing.sendall(refusals.answer(500, openai_form=openai_error.is_form_of(request.path)))
                outgoing.flush()
            raise
        finally:
            self.cfg.post_request(self, request, environ, response)
        return not response.should_close()

    def _answered(self, connection: Connection, *, keep_alive: bool) -> None:
        if not self._is_open(connection):
            return
        connection.keep_alive = keep_alive
        connection.enter(Phase.FLUSHING)
        if connection.broken:
            self._close(connection)
            return
        self._guard(connection, lambda: self._advance(connection))


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
