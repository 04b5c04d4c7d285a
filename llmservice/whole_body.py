"""Refuses incomplete bodies: the part that arrives before a client fails may look like a valid body."""

import io
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

from django.http import UnreadablePostError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication


class WholeBody(io.RawIOBase):
    """The first `length` bytes of `stream`; reading raises UnreadablePostError if it ends earlier."""

    def __init__(self, stream: IO[bytes], *, length: int) -> None:
        self._stream = stream
        self._missing = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._missing)
        data = self._stream.read(wanted)
        if wanted and not data:
            raise UnreadablePostError(f"The last {self._missing} bytes of the body are missing.")
        buffer[: len(data)] = data
        self._missing -= len(data)
        return len(data)


def whole_bodies(application: "WSGIApplication") -> "WSGIApplication":
    """The application; reading a body that is shorter than its Content-Length raises UnreadablePostError.

    It wraps Django as a whole, because Django wraps the stream before any middleware runs.
    """

    def with_whole_body(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and (size := int(length[:20])):
            environ["wsgi.input"] = io.BufferedReader(WholeBody(environ["wsgi.input"], length=size))
        return application(environ, start_response)

    return with_whole_body
