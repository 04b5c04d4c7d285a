"""Cancels a generation whose client has left: nobody would read the rest."""

import select
import socket

from rest_framework.request import Request

from inference.engine.request import Completion, Generation

CHECK_EVERY_S = 0.5
# Only Linux reports that the peer has closed while its data wait to be read; elsewhere it goes unnoticed.
CLOSED = getattr(select, "POLLRDHUP", 0)


def result_for(request: Request, generation: Generation) -> Completion:
    """Wait for the text, and cancel it once the request's client has closed its connection.

    Raises:
        Cancelled: the client has closed its connection.
        EngineError: as `Generation.result`.
    """
    connection: socket.socket | None = request.META.get("gunicorn.socket")
    while connection is not None:
        try:
            return generation.result(CHECK_EVERY_S)
        except TimeoutError:
            if is_closed(connection):
                generation.cancel()
                break
    return generation.result()


def is_closed(connection: socket.socket) -> bool:
    """Whether the peer has closed the connection; data it sent before that stay unread."""
    poll = select.poll()
    # poll reports errors and a connection closed in both directions without being asked.
    poll.register(connection, CLOSED)
    return bool(poll.poll(0))
