"""When a waiting request's client counts as gone: by its connection, whatever it has sent on it."""

import socket
import struct
from collections.abc import Iterator

import pytest

from inference.api.disconnect import is_closed


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's and the client's end of a connection over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
        with client, server:
            yield server, client


def test_a_client_that_waits_is_there(ends: tuple[socket.socket, socket.socket]) -> None:
    server, _ = ends
    assert not is_closed(server)


def test_a_client_that_has_sent_its_next_request_is_there(ends: tuple[socket.socket, socket.socket]) -> None:
    server, client = ends
    client.sendall(b"GET /health")
    assert not is_closed(server)
    assert server.recv(100) == b"GET /health"


@pytest.mark.parametrize("sent", [b"", b"GET /health"])
def test_a_client_that_has_closed_is_gone(ends: tuple[socket.socket, socket.socket], sent: bytes) -> None:
    server, client = ends
    client.sendall(sent)
    client.close()
    assert is_closed(server)


def test_a_client_that_has_broken_off_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    server, client = ends
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # it resets
    client.close()
    assert is_closed(server)
