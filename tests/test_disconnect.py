"""When a request's client counts as gone, by what the server's loop has seen of its connection."""

import select
import socket
from collections.abc import Iterator

import pytest
from gunicorn.config import Config

from llmservice.server.connection import INTERIM, Connection


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    """The server's end of a connection over TCP, whose request is being answered, and the client's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        accepted, peer = listener.accept()
    accepted.setblocking(False)
    connection = Connection(
        accepted, peer, config=Config(), max_body_bytes=1000, on_blocked=lambda connection: None
    )
    connection.begin_answer(http_10=False)
    connection.outgoing.hold()
    with client, accepted:
        yield connection, client


def test_a_client_that_waits_is_there(ends: tuple[Connection, socket.socket]) -> None:
    connection, client = ends
    client.sendall(b"GET /health")
    read(connection)
    assert not connection.client_gone()


def test_a_client_that_has_closed_its_side_only_is_asked_and_is_there(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, client = ends
    client.shutdown(socket.SHUT_WR)
    read(connection)
    assert not connection.client_gone()
    assert client.recv(100) == INTERIM
    assert not connection.client_gone()


def test_a_client_is_not_asked_in_the_middle_of_an_answer(ends: tuple[Connection, socket.socket]) -> None:
    connection, client = ends
    connection.outgoing.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.outgoing.sendall(b"half")
    client.shutdown(socket.SHUT_WR)
    read(connection)
    assert not connection.client_gone()
    connection.outgoing.sendall(b" done")
    assert client.recv(100) == b"HTTP/1.1 200 OK\r\n\r\nhalf done"


def test_a_client_of_http_1_0_cannot_be_asked(ends: tuple[Connection, socket.socket]) -> None:
    connection, client = ends
    connection.begin_answer(http_10=True)
    client.shutdown(socket.SHUT_WR)
    read(connection)
    assert connection.client_gone()


def test_a_client_that_has_closed_resets_the_connection_when_asked(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, client = ends
    client.close()
    read(connection)
    assert not connection.client_gone()
    poll = select.poll()
    poll.register(connection.socket, 0)
    assert poll.poll(10_000)[0][1] & (select.POLLHUP | select.POLLERR)


def read(connection: Connection) -> None:
    """Read as the loop does once something has arrived."""
    connection.socket.setblocking(True)
    connection.receive()
    connection.socket.setblocking(False)
