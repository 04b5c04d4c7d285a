"""Answers as server-sent events (WHATWG HTML, section 9.2): text as soon as it is final."""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from rest_framework.request import Request

from inference.api import disconnect
from inference.api.disconnect import CHECK_EVERY_S
from inference.engine.errors import Cancelled
from inference.engine.generation import Event
from inference.metering import Metered
from llmservice.http import problems

CONTENT_TYPE = "text/event-stream"
START_WITHIN_S = 5.0
"""The answer starts at the latest after this time, so that proxies and clients see that the service works.
Until then, a failure is an ordinary problem with its own status."""
KEEP_ALIVE_S = 10.0
"""The longest silence: proxies close connections that are idle for a minute or less."""
KEEP_ALIVE = b": waiting\n\n"
"""A comment, which clients skip."""

# `X-Accel-Buffering` tells nginx to pass each event on at once.
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def is_wanted(request: Request, field: bool | None) -> bool:
    """Whether to answer with events: the body's `stream` decides; if it is absent, the Accept header does."""
    if field is not None:
        return field
    accepted = [part.split(";")[0].strip().lower() for part in request.headers.get("Accept", "").split(",")]
    return CONTENT_TYPE in accepted and not {"application/json", "*/*"} & set(accepted)


def event(name: str, data: Mapping[str, Any]) -> bytes:
    """One event; its data is one line, because JSON escapes line breaks."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), json.dumps(data).encode())


class EventStream:
    """The body of a streamed answer, for admitted requests.

    The web server iterates it and closes it at the end, also if it never started to iterate. Closing cancels
    what still runs and settles it. A failure after the start is the last event.

    Args:
        metered: the generations, admitted.
        pieces: the events for what a step added to the generation of this index.
        opening: the events before the first piece; they are sent at once, also while the request waits.
        last: the events after the last piece.
        handler: answers the exception of a failed generation, as the view's own handler does.
        error_event: makes the event from that answer's body.
    """

    def __init__(
        self,
        request: Request,
        metered: Metered,
        *,
        pieces: Callable[[int, Event], Iterable[bytes]],
        opening: Callable[[], Iterable[bytes]] = tuple,
        last: Callable[[], Iterable[bytes]],
        handler: Callable[[Exception, Mapping[str, Any]], HttpResponse] = problems.exception_handler,
        error_event: Callable[[bytes], bytes] = b"event: error\ndata: %s\n\n".__mod__,
    ) -> None:
        self._request = request
        self._metered = metered
        self._pieces = pieces
        self._opening = opening
        self._last = last
        self._handler = handler
        self._error_event = error_event
        self._events = metered.events(CHECK_EVERY_S)
        self._first = self._await_first()
        self._body = self._iterate()

    def response(self) -> StreamingHttpResponse:
        return StreamingHttpResponse(self, content_type=CONTENT_TYPE, headers=HEADERS)

    def __iter__(self) -> Iterator[bytes]:
        return self._body

    def close(self) -> None:
        self._body.close()
        self._metered.close()

    def _await_first(self) -> tuple[int, Event] | None:
        """The first event; None if it takes longer than the start of the answer may.

        Raises:
            EngineError: the request failed before its first event.
        """
        for item in islice(self._events, round(START_WITHIN_S / CHECK_EVERY_S)):
            if item is not None:
                return item
            if disconnect.is_gone(self._request):
                self._events.close()
                raise Cancelled
        return None

    def _iterate(self) -> Generator[bytes, None, None]:
        silent_s = 0.0
        try:
            with closing(self._events):
                yield from self._opening()
                yield from (KEEP_ALIVE,) if self._first is None else self._pieces(*self._first)
                for item in self._events:
                    if disconnect.is_gone(self._request):
                        return
                    if item is not None:
                        silent_s = 0.0
                        yield from self._pieces(*item)
                    elif (silent_s := silent_s + CHECK_EVERY_S) >= KEEP_ALIVE_S:
                        silent_s = 0.0
                        yield KEEP_ALIVE
            yield from self._last()
        except Exception as error:
            answer = self._handler(error, {"request": self._request})
            yield self._error_event(answer.content)
