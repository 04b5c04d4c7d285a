"""gunicorn's threaded worker, with problem documents for the requests that gunicorn itself refuses.

gunicorn's master process imports this module, so it must not import Django.
"""

import json
import socket
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

from llmservice import readiness

# All other parse errors are answered with 400.
STATUSES: dict[type[errors.ParseException], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
}
DETAILS = {
    400: "The request is not valid HTTP: {reason}.",
    414: "The address is too long.",
    417: "The only supported expectation is 100-continue.",
    431: "The headers are too many or too large.",
    501: "The only supported transfer coding is chunked.",
}
# Errors in headers that the service itself sends: not the client's fault.
OURS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Leaves connections to the workers that can generate, and answers malformed requests with a problem.

    A malformed request is logged without its content.
    """

    def notify(self) -> None:
        """The main loop calls this at least every second."""
        super().notify()
        readiness.WORKERS.declare(self.age, ready=self.alive and readiness.can_generate())

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled and self.alive and readiness.may_accept(self.age))

    def accept(self, listener: socket.socket) -> None:
        if readiness.may_accept(self.age):
            super().accept(listener)
        else:
            super().set_accept_enabled(False)

    def handle_request(self, req: Any, conn: Any) -> Any:
        # Whoever kept a connection to a worker that cannot generate would not reach those that can.
        can_generate = readiness.can_generate()
        self.max_keepalived = self.cfg.worker_connections - self.cfg.threads if can_generate else 0
        return super().handle_request(req, conn)

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        if not isinstance(exc, errors.ParseException) or isinstance(exc, OURS):
            super().handle_error(req, client, addr, exc)
            return
        status = HTTPStatus(STATUSES.get(type(exc), 400))
        # A malformed header may contain a secret, so the log has only the type of the error.
        address = addr[0] if addr else ""
        self.log.warning('%s "%s" %d', address, type(exc).__name__, status)
        try:
            util.write_nonblock(client, _answer(status, reason=str(exc).rstrip(".")))
        except OSError:
            self.log.debug("The client of a refused request has disconnected.")


def _answer(status: HTTPStatus, *, reason: str) -> bytes:
    detail = DETAILS[status].format(reason=reason)
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
