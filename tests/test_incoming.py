"""Bytes of a connection become whole requests, however they are cut, or are refused."""

from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.http import errors
from hypothesis import given, settings
from hypothesis import strategies as st

from llmservice.server.incoming import MAX_HEAD_BYTES, Incoming, IncompleteBody, IncompleteHead, Message
from tests.examples import examples

LIMIT = 1000
HOST = b"Host: localhost\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


def incoming(data: bytes = b"") -> Incoming:
    new = Incoming(Config(), ("127.0.0.1", 1), max_body_bytes=LIMIT)
    new.feed(data)
    return new


def environ_of(message: Message) -> dict[str, Any]:
    environ: dict[str, Any] = {"HTTP_TRANSFER_ENCODING": "chunked"}
    message.replace_body(environ)
    return environ


@settings(max_examples=examples(100))
@given(st.data())
def test_requests_are_the_same_however_the_bytes_are_cut(data: st.DataObject) -> None:
    sent = (
        b"\r\nGET /first HTTP/1.1\r\n" + HOST + b"\r\n"
        b"POST /second HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n\r\nhello" + CHUNKED
        + b'3;name="a;b"\r\nabc\r\n2 ; x\r\nde\r\n0\r\nDigest: x\r\n\r\nGET /last HTTP/1.0\r\n\r\n'
    )  # fmt: skip
    cuts = sorted(data.draw(st.sets(st.integers(1, len(sent) - 1), max_size=12)))
    connection = incoming()
    taken = []
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        connection.feed(sent[start:end])
        while (message := connection.take()) is not None:
            taken.append((message.request.path, message.body))
    assert taken == [("/first", b""), ("/second", b"hello"), ("/a", b"abcde"), ("/last", b"")]
    assert len(connection) == 0


def test_a_chunked_body_has_a_length_for_the_application() -> None:
    message = incoming(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n").take()
    assert message is not None
    environ = environ_of(message)
    assert environ.pop("wsgi.input").read() == b"hello"
    assert environ == {"CONTENT_LENGTH": "5"}


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /a HTTP/1.1\r\n" + HOST + b"Content-Length: 1001\r\n\r\n",
        CHUNKED + b"3e9\r\n",
        CHUNKED + b"1\r\na\r\n3e8\r\n",
        CHUNKED + b"f" * 15 + b"\r\n",
    ],
)
def test_a_body_that_is_too_large_is_not_waited_for(sent: bytes) -> None:
    message = incoming(sent).take()
    assert message is not None
    assert message.length > LIMIT
    assert message.body == b""
    assert message.request.should_close()


def test_a_body_may_be_as_large_as_the_limit() -> None:
    message = incoming(CHUNKED + b"3e8\r\n" + b"a" * LIMIT + b"\r\n0\r\n\r\n").take()
    assert message is not None
    assert message.body == b"a" * LIMIT


def test_extensions_of_chunks_count_as_well() -> None:
    connection = incoming(CHUNKED)
    for _ in range(200):
        connection.feed(b"1;a=" + b"b" * 900 + b"\r\nc\r\n")
        if (message := connection.take()) is not None:
            break
    assert message is not None
    assert message.length > LIMIT


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"GET /" + b"a" * 9000, errors.LimitRequestLine),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * (MAX_HEAD_BYTES // 6 + 1), errors.LimitRequestHeaders),
        (b"GET / HTTP/1.1\n" + b"Host: a\n\n", errors.InvalidRequestLine),
        (b"GET / HTTP/1.1\r\nA: b\n\r\n", errors.InvalidHeader),
        (b"GET / HTTP/1.1\r\nA: b\r\n\r\n", errors.InvalidHeader),
        (CHUNKED + b"zz\r\n", errors.InvalidChunkSize),
        (CHUNKED + b"-1\r\n", errors.InvalidChunkSize),
        (CHUNKED + b"1" * 2000, errors.InvalidChunkSize),
        (CHUNKED + b"3\r\nhello\r\n0\r\n\r\n", errors.InvalidChunkSize),
        (CHUNKED + b"3\r\nabcXX0\r\n\r\n", errors.ChunkMissingTerminator),
        (CHUNKED + b"0\r\nHost: a\r\n\r\n", errors.InvalidHeaderName),
        (CHUNKED + b"0\r\n" + b"A: b\r\n" * 20_000, errors.LimitRequestHeaders),
        (CHUNKED.replace(b"chunked", b"gzip, chunked"), errors.UnsupportedTransferCoding),
    ],
)
def test_what_is_not_a_request_is_refused(sent: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        incoming(sent).take()


@pytest.mark.parametrize(
    ("sent", "error"), [(b"GET / HT", IncompleteHead), (CHUNKED + b"5\r\nhe", IncompleteBody)]
)
def test_a_client_that_stops_in_the_middle_is_told(sent: bytes, error: type[Exception]) -> None:
    connection = incoming(sent)
    assert connection.take() is None
    connection.ended = True
    with pytest.raises(error):
        connection.take()


def test_the_target_in_absolute_form_replaces_the_host() -> None:
    message = incoming(b"GET http://other:8000/a?b HTTP/1.1\r\n" + HOST + b"\r\n").take()
    assert message is not None
    assert (message.request.path, message.request.query) == ("/a", "b")
    assert ("HOST", "other:8000") in message.request.headers
    assert ("HOST", "localhost") not in message.request.headers


def test_close_is_heeded_among_other_options() -> None:
    message = incoming(b"GET / HTTP/1.1\r\n" + HOST + b"Connection: TE, close\r\n\r\n").take()
    assert message is not None
    assert message.request.should_close()
