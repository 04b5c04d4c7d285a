"""gunicorn's threaded worker, whose own refusals are problem documents as all others of the service are.

gunicorn's main process imports this, so it imports nothing of Django's.
"""

import json
import socket
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import ThreadWorker

# What is no HTTP is a 400, but for these.
STATUSES: dict[type[errors.ParseException], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
}
DETAILS = {
    400: "This is not HTTP as this service reads it: {reason}.",
    414: "The address is longer than this service accepts.",
    417: "This service knows no other expectation than 100-continue.",
    431: "The headers are more or larger than this service accepts.",
    501: "This service knows no other transfer coding than chunked.",
}
# A header that the service itself would send: not the client's fault.
OURS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)


class Worker(ThreadWorker):  # type: ignore[misc]
    """Answers what cannot be read as a request in the service's own form, and logs it without its words."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        if not isinstance(exc, errors.ParseException) or isinstance(exc, OURS):
            super().handle_error(req, client, addr, exc)
            return
        status = HTTPStatus(STATUSES.get(type(exc), 400))
        # A header that is no header may hold a secret: the log has the kind of the error alone.
        address = addr[0] if addr else ""
        self.log.warning('%s "%s" %d', address, type(exc).__name__, status)
        try:
            util.write_nonblock(client, _answer(status, reason=str(exc).rstrip(".")))
        except OSError:
            self.log.debug("The client of a refused request is gone.")


def _answer(status: HTTPStatus, *, reason: str) -> bytes:
    detail = DETAILS[status].format(reason=reason)
    problem = {"type": "about:blank", "title": status.phrase, "status": status, "detail": detail}
    body = json.dumps(problem).encode()
    head = (
        f"HTTP/1.1 {status} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
