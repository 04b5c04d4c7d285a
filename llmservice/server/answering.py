"""Answers requests in threads, with the WSGI application."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from gunicorn.http import wsgi

from llmservice import readiness
from llmservice.http import openai_error
from llmservice.server import refusals
from llmservice.server.connection import Connection
from llmservice.server.incoming import Message

PROBES = frozenset({"/health", "/ready", "/metrics"})
PROBE_THREADS = 4
"""Threads that answer nothing but PROBES, so these answer while every other thread is busy."""


class Answering:
    """The threads of a worker, and what they do with a request.

    Args:
        worker: gunicorn's worker, which has the application, the configuration and the number of requests.
        on_answered: called in the thread once it is done with the connection; `keep_alive` says whether
            another request may follow on it.
    """

    def __init__(self, worker: Any, *, on_answered: Callable[[Connection, bool], None]) -> None:
        self._worker = worker
        self._on_answered = on_answered
        self._threads = ThreadPoolExecutor(worker.cfg.threads, thread_name_prefix="request")
        self._probe_threads = ThreadPoolExecutor(PROBE_THREADS, thread_name_prefix="probe")

    def begin(self, connection: Connection, message: Message) -> None:
        """Have a thread answer the request."""
        pool = self._probe_threads if message.request.path in PROBES else self._threads
        pool.submit(self._answer, connection, message)

    def end(self) -> None:
        """Take no further request; threads that still answer are not waited for."""
        self._threads.shutdown(wait=False)
        self._probe_threads.shutdown(wait=False)

    def _answer(self, connection: Connection, message: Message) -> None:
        keep_alive = False
        try:
            keep_alive = self._respond(connection, message)
        except OSError:
            self._worker.log.debug("The client has closed the connection.")
        except Exception:
            self._worker.log.exception("Answering a request failed.")
        finally:
            self._on_answered(connection, keep_alive)

    def _respond(self, connection: Connection, message: Message) -> bool:
        worker, request, outgoing = self._worker, message.request, connection.outgoing
        worker.cfg.pre_request(worker, request)
        response, environ = wsgi.create(request, outgoing, connection.peer, connection.server, worker.cfg)
        message.replace_body(environ)
        environ |= {"wsgi.multithread": True, "llmservice.client_gone": connection.client_gone}
        worker.nr += 1
        if worker.nr >= worker.max_requests and worker.alive:
            worker.log.info("Autorestarting worker after current request.")
            worker.alive = False
        if connection.half_closed or not self._may_keep_alive():
            response.force_close()
        outgoing.hold()
        try:
            answer = worker.wsgi(environ, response.start_response)
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
            worker.cfg.post_request(worker, request, environ, response)
        return not response.should_close()

    def _may_keep_alive(self) -> bool:
        """Whether a connection is kept for the client's next request.

        A connection to a worker that cannot generate would keep its client from those that can.
        """
        worker = self._worker
        return worker.alive and worker.cfg.keepalive > 0 and readiness.can_generate()
