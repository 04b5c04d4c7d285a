"""What one client sends, cut into whole requests: gunicorn's parser, fed as the bytes arrive."""

import io
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gunicorn.http import errors
from gunicorn.http.body import ChunkedReader, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.unreader import IterUnreader

# Room for ordinary cookies and tokens; gunicorn itself bounds each header and their number.
MAX_HEAD_BYTES = 64 * 1024
MAX_CHUNK_LINE_BYTES = 1024
# A head with bare line feeds ends as well, so that gunicorn's parser gets to refuse it.
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class IncompleteBody(errors.ParseException):  # type: ignore[misc]
    """The client closed its side of the connection in the middle of a body."""

    detail = "The body ended before it was complete."


class IncompleteHead(errors.ParseException):  # type: ignore[misc]
    """The client closed its side of the connection in the middle of a head."""

    detail = "The head of the request ended before it was complete."


@dataclass(frozen=True)
class Message:
    """A request that has arrived completely, or whose body is larger than what is accepted.

    Attributes:
        request: gunicorn's own.
        body: without its transfer coding; empty if it was too large.
        length: what the application is told the body's length is.
    """

    request: Any
    body: bytes
    length: int

    def replace_body(self, environ: dict[str, Any]) -> None:
        """Give a WSGI application the whole body, in place of gunicorn's reader."""
        environ["wsgi.input"] = io.BytesIO(self.body)
        if environ.pop("HTTP_TRANSFER_ENCODING", None) is not None:
            environ["CONTENT_LENGTH"] = str(self.length)


class Incoming:
    """The bytes of one connection in their order. Its caller bounds the time that they take.

    Args:
        config: gunicorn's configuration.
        peer: the client's address and port.
        max_body_bytes: a larger body is not waited for.
    """

    def __init__(self, config: Any, peer: Any, *, max_body_bytes: int) -> None:
        self._config = config
        self._peer = peer
        self._max_body = max_body_bytes
        self._data = bytearray()
        self._searched = 0
        self._request: Any = None
        self._chunks: _Chunks | None = None
        self._length = 0
        self._target = ""
        self.ended = False
        """Whether the client has closed its side of the connection."""

    def __len__(self) -> int:
        """Bytes that wait to become a request."""
        return len(self._data)

    @property
    def path(self) -> str:
        """Of the request that is read or was refused, as far as it has arrived; for the form of an error."""
        target = (self._target or _target(self._data)).partition("?")[0]
        _, whole_address, rest = target.partition("://")
        return "/" + rest.partition("/")[2] if whole_address else target

    @property
    def in_body(self) -> bool:
        """Whether the head of the current request is complete."""
        return self._request is not None

    def feed(self, data: bytes) -> None:
        """Add what has arrived."""
        self._data += data

    def take_expectation(self) -> bool:
        """Whether the client waits for `100 Continue` before the body; true once for each request."""
        if self._request is None or not self._request._expected_100_continue:
            return False
        self._request._expected_100_continue = False
        return True

    def take(self) -> Message | None:
        """The next request; None if it is not complete yet.

        Raises:
            ParseException: the client must not send this; the connection cannot be used any more.
        """
        if self._request is None and not self._read_head():
            if self.ended and self._data:
                raise IncompleteHead
            return None
        message = self._read_body()
        if message is None and self.ended:
            raise IncompleteBody
        if message is not None:
            message.request._expected_100_continue = False
            self._request, self._chunks, self._target = None, None, ""
        return message

    def _read_head(self) -> bool:
        if self._searched == 0 and self._data[:2] == b"\r\n":
            del self._data[:2]  # RFC 9112, 2.2: an empty line before the request line is skipped
        end = _HEAD_END.search(self._data, max(0, self._searched - 3))
        if end is None:
            self._searched = len(self._data)
            line_limit = self._config.limit_request_line
            if len(self._data) > line_limit + 2 and self._data.find(b"\n", 0, line_limit + 2) < 0:
                raise errors.LimitRequestLine(len(self._data), line_limit)
            if len(self._data) > MAX_HEAD_BYTES:
                raise errors.LimitRequestHeaders("limit request head size")
            return False
        self._target = _target(self._data)
        head = bytes(self._data[: end.end()])
        del self._data[: end.end()]
        self._searched = 0
        if len(head) > MAX_HEAD_BYTES:
            raise errors.LimitRequestHeaders("limit request head size")
        try:
            request = Request(self._config, IterUnreader([head]), self._peer)
        except errors.NoMoreData as error:  # the two differ about where the head ends
            raise errors.InvalidRequestLine("bare LF as line terminator") from error
        check(request)
        self._request = request
        reader = request.body.reader
        self._length = reader.length if isinstance(reader, LengthReader) else 0
        if isinstance(reader, ChunkedReader):
            self._chunks = _Chunks(self._max_body)
        return True

    def _read_body(self) -> Message | None:
        end = self._length if self._chunks is None else self._chunks.end(self._data)
        if end is None or (end > len(self._data) and end <= self._max_body):
            return None
        if end > self._max_body and (self._chunks is None or self._chunks.too_large):
            self._request.force_close()
            self._data.clear()
            return Message(self._request, b"", end)
        body = bytes(self._data[:end])
        del self._data[:end]
        if self._chunks is not None:
            body = self._decoded(body)
        return Message(self._request, body, len(body))

    def _decoded(self, chunks: bytes) -> bytes:
        unreader = IterUnreader([chunks])
        try:
            body: bytes = ChunkedReader(self._request, unreader).read(sys.maxsize)
        except errors.NoMoreData as error:
            raise errors.ChunkMissingTerminator(b"") from error
        if unreader.read():
            raise errors.ChunkMissingTerminator(b"")  # the two differ about where the body ends
        return body


class _Chunks:
    """Finds the end of a chunked body as it arrives; gunicorn's reader then checks and decodes it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._at = 0
        self._size = 0
        self.too_large = False

    def end(self, data: bytearray) -> int | None:
        """Where the body ends in `data`, which begins with it; more than the limit if it is too large."""
        while (line_end := data.find(b"\r\n", self._at)) >= 0:
            size_text = data[self._at : line_end].split(b";")[0].rstrip(b" \t")
            if not _CHUNK_SIZE.fullmatch(size_text):
                raise errors.InvalidChunkSize(bytes(size_text))
            size = int(size_text, 16)
            if size == 0:
                return self._end_of_trailers(data, line_end)
            self._size += size
            self._at = line_end + 2 + size + 2
            # What surrounds the chunks counts as well: a chunk of one byte may have a long extension.
            if self._size > self._limit or self._at > 2 * self._limit + MAX_HEAD_BYTES:
                self.too_large = True
                return max(self._at, self._limit + 1)
        if len(data) - self._at > MAX_CHUNK_LINE_BYTES:
            raise errors.InvalidChunkSize(b"the line is too long")
        return None

    def _end_of_trailers(self, data: bytearray, line_end: int) -> int | None:
        if data[line_end + 2 : line_end + 4] == b"\r\n":
            return line_end + 4
        end = data.find(b"\r\n\r\n", line_end + 2)
        if end < 0 and len(data) - line_end > MAX_HEAD_BYTES:
            raise errors.LimitRequestHeaders("limit request trailer section size")
        return None if end < 0 else end + 4


def check(request: Any) -> None:
    """Refuse what gunicorn's parser lets through and a server must not accept.

    Raises:
        ParseException: with the reason.
    """
    values = _values(request, "TRANSFER-ENCODING")
    codings = [coding.strip(" \t").lower() for value in values for coding in value.split(",")]
    if codings and codings != ["chunked"]:
        raise errors.UnsupportedTransferCoding(", ".join(codings))
    options = [
        option.strip(" \t").lower() for value in _values(request, "CONNECTION") for option in value.split(",")
    ]
    if "close" in options:
        request.force_close()
    if "://" in request.uri and not request.uri.startswith("/"):
        # RFC 9112, 3.2.2: the target replaces the Host header. The header must be there all the same.
        target = urlsplit(request.uri)
        if target.scheme.lower() not in ("http", "https") or not target.netloc or "@" in target.netloc:
            raise errors.InvalidRequestLine("the target is not an HTTP address")
        had_host = bool(_values(request, "HOST"))
        request.headers = [(name, value) for name, value in request.headers if name != "HOST"]
        if had_host or request.version == (1, 0):
            request.headers.append(("HOST", target.netloc))
    if request.version >= (1, 1) and not _values(request, "HOST"):
        raise errors.InvalidHeader("the Host header is missing")


def _target(head: bytearray) -> str:
    """The second word of a request's first line, which need not be valid."""
    words = head[:MAX_HEAD_BYTES].partition(b"\n")[0].split(b" ", 2)
    return words[1].decode("latin-1") if len(words) > 2 else ""


def _values(request: Any, name: str) -> Sequence[str]:
    return [value for header, value in request.headers if header == name]
