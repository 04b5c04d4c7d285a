"""A client that goes away while it waits for its text: nobody would read the rest."""

import select
import socket

from rest_framework.request import Request

from inference.engine.request import Completion, Generation

LOOK_EVERY_S = 0.5
# Linux alone tells a close by the other side while data of it wait to be read; elsewhere none is noticed.
CLOSED = getattr(select, "POLLRDHUP", 0)


def result_for(request: Request, generation: Generation) -> Completion:
    """Wait for the text, and give it up when the request's client has closed its connection.

    Raises:
        Cancelled: it has.
        EngineError: as `Generation.result`.
    """
    connection: socket.socket | None = request.META.get("gunicorn.socket")
    while connection is not None:
        try:
            return generation.result(LOOK_EVERY_S)
        except TimeoutError:
            if is_closed(connection):
                generation.cancel()
                break
    return generation.result()


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed the connection; what it has sent before that is not read."""
    poll = select.poll()
    # Errors and a connection that is down for both sides are told unasked.
    poll.register(connection, CLOSED)
    return bool(poll.poll(0))
