"""What is written to one client: when its reader is late, and when it is not."""

import socket
import time
from collections.abc import Iterator

import pytest

from llmservice.server.outgoing import Outgoing

FOREVER_S = 1e6
LARGE = b"x" * 900_000  # more than the system's buffers hold, less than a thread waits for


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end of a connection, and the client's."""
    server, client = socket.socketpair()
    server.setblocking(False)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    with server, client:
        yield server, client


def test_the_reader_of_a_live_stream_is_never_late_however_long_the_stream_pauses(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, client = ends
    outgoing = Outgoing(server, lambda: None)
    for _ in range(3):
        outgoing.sendall(b"data: piece\n\n")
        assert client.recv(100) == b"data: piece\n\n"
        assert not outgoing.is_late(time.monotonic() + FOREVER_S)


def test_a_reader_is_late_while_something_waits_and_no_longer_once_it_has_taken_all(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    server, client = ends
    blocked: list[bool] = []
    outgoing = Outgoing(server, lambda: blocked.append(True))
    outgoing.sendall(LARGE)
    assert blocked
    assert not outgoing.is_late(time.monotonic())
    assert outgoing.is_late(time.monotonic() + FOREVER_S)
    received = 0
    while received < len(LARGE):
        received += len(client.recv(len(LARGE)))
        assert outgoing.push()
    assert not outgoing.is_late(time.monotonic() + FOREVER_S)
