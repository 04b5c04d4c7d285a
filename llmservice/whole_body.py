"""A body that is whole or an error: where a client dies in the middle, half of it may look sound."""

import io
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any

from django.http import UnreadablePostError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication


class WholeBody(io.RawIOBase):
    """The `length` bytes of `stream`; reading raises UnreadablePostError where it ends before that."""

    def __init__(self, stream: IO[bytes], *, length: int) -> None:
        self._stream = stream
        self._missing = length

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self._missing)
        data = self._stream.read(wanted)
        if wanted and not data:
            raise UnreadablePostError(f"The body lacks {self._missing} bytes.")
        buffer[: len(data)] = data
        self._missing -= len(data)
        return len(data)


def whole_bodies(application: "WSGIApplication") -> "WSGIApplication":
    """The application, with a body of less than its Content-Length as an error of whoever reads it.

    In front of Django, which looks at the stream when it makes the request, before any of its middleware.
    """

    def with_whole_body(environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        length = environ.get("CONTENT_LENGTH") or "0"
        if length.isdecimal() and (size := int(length[:20])):
            environ["wsgi.input"] = io.BufferedReader(WholeBody(environ["wsgi.input"], length=size))
        return application(environ, start_response)

    return with_whole_body
