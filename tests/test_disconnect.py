"""When a request's client counts as gone, by what the server's loop has seen of its connection."""

import select
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from django.http import HttpRequest
from gunicorn.config import Config
from rest_framework.request import Request

from inference.api.disconnect import CHECK_EVERY_S, results_for
from inference.engine.errors import Cancelled, DeadlineExceeded
from llmservice.server.connection import INTERIM, Connection
from tests.engine_requests import finish, request, stepped_engine, submit


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


def test_the_first_failure_is_reported_while_other_texts_still_run() -> None:
    engine = stepped_engine()
    first, second = (submit(engine, request(seed=seed)) for seed in range(2))
    threading.Timer(0.05, lambda: second.finish(DeadlineExceeded(), now=0.0)).start()
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        results_for(Request(HttpRequest()), [first, second])
    assert time.monotonic() - began < CHECK_EVERY_S
    assert not first.done


def test_the_texts_come_in_their_order() -> None:
    engine = stepped_engine()
    generations = [submit(engine, request(seed=seed, new=new)) for seed, new in enumerate((9, 3, 6))]
    threading.Timer(0.05, lambda: finish(engine)).start()
    texts = results_for(Request(HttpRequest()), generations)
    assert [text.completion_tokens for text in texts] == [9, 3, 6]


def test_all_texts_of_a_client_that_has_left_are_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.api.disconnect.CHECK_EVERY_S", 0.01)
    engine = stepped_engine()
    generations = [submit(engine, request()) for _ in range(2)]
    threading.Timer(0.1, lambda: finish(engine)).start()
    gone = HttpRequest()
    gone.META["llmservice.client_gone"] = lambda: True
    with pytest.raises(Cancelled):
        results_for(Request(gone), generations)
    assert all(generation.cancelled for generation in generations)


def read(connection: Connection) -> None:
    """Read as the loop does once something has arrived."""
    connection.socket.setblocking(True)
    connection.receive()
    connection.socket.setblocking(False)
