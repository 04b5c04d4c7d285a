"""A body that is shorter than its declared length is refused, whatever the received part looks like."""

import io
from collections.abc import Iterable
from typing import Any

import pytest
from django.http import UnreadablePostError

from llmservice.whole_body import whole_bodies


def body_of(environ: dict[str, Any]) -> bytes:
    """What an application behind the wrapper reads."""
    read: list[bytes] = []

    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        read.append(environ["wsgi.input"].read())
        return []

    whole_bodies(application)(environ, lambda *args: lambda data: None)
    return read[0]


@pytest.mark.parametrize("came", [b"", b'{"prompt": "a"}'])
def test_a_body_that_ends_early_is_unreadable(came: bytes) -> None:
    with pytest.raises(UnreadablePostError):
        body_of({"CONTENT_LENGTH": "100", "wsgi.input": io.BytesIO(came)})


def test_a_body_is_read_to_its_length_and_no_further() -> None:
    """The next bytes on the connection are another request."""
    stream = io.BytesIO(b"12345POST /")
    assert body_of({"CONTENT_LENGTH": "5", "wsgi.input": stream}) == b"12345"
    assert stream.tell() == 5


@pytest.mark.parametrize("length", ["", "0", "x"])
def test_without_a_length_the_stream_is_unchanged(length: str) -> None:
    assert body_of({"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b"chunks")}) == b"chunks"
