"""Connections cannot hold the service: slow, idle, half-closed and silent clients beside an ordinary one."""

import socket
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import httpx
import pytest
from drf_spectacular_sidecar import __file__ as sidecar

from tests.e2e.conftest import Service, StartService
from tests.e2e.connections import (
    allow_descriptors,
    connect,
    exchange,
    is_closed,
    post_generate,
    read_answer,
)

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
CLOSING_HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
HALF_HEAD = HEALTH[:-10]
HALF_BODY = b"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
# More than the service has threads.
MANY = 200


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def narrow(
    starting: Callable[[Path], AbstractContextManager[StartService]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """A service with few threads."""
    with starting(tmp_path_factory.mktemp("narrow")) as start:
        service = start(LLM_MAX_RUNNING="1", LLM_MAX_QUEUED="1")
        service.wait_ready()
        yield service


def served(service: Service) -> None:
    """The service answers probes, pages and requests with a key."""
    assert httpx.get(f"{service.url}/health", timeout=10).status_code == 200
    assert httpx.get(f"{service.url}/docs", timeout=10).status_code == 200
    assert exchange(service, post_generate(service, max_new_tokens=1)).status == 200


def test_half_a_request_costs_no_thread_and_has_a_deadline(service: Service, stack: ExitStack) -> None:
    heads = [stack.enter_context(connect(service)) for _ in range(MANY)]
    bodies = [stack.enter_context(connect(service)) for _ in range(MANY)]
    for connection in heads:
        connection.sendall(HALF_HEAD)
    for connection in bodies:
        connection.sendall(HALF_BODY)
    served(service)
    for connection, part in ((heads[0], "head"), (bodies[0], "body")):
        answer = read_answer(connection)
        assert answer.status == 408
        assert part in answer.problem
        assert is_closed(connection)


def test_a_byte_now_and_then_does_not_extend_the_deadline(service: Service) -> None:
    began = time.monotonic()
    with connect(service) as connection:
        connection.setblocking(False)
        while time.monotonic() < began + 30:
            connection.send(b"a")
            time.sleep(0.5)
            try:
                answer = connection.recv(1000)
            except BlockingIOError:
                continue
            break
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert time.monotonic() - began > 5


def test_clients_that_leave_their_connection_open_after_the_answer(
    service: Service, stack: ExitStack
) -> None:
    began = time.monotonic()
    for _ in range(40):
        connection = stack.enter_context(connect(service))
        connection.sendall(CLOSING_HEALTH)
        assert read_answer(connection).status == 200
    # Each costs 2 s if the server waits for it.
    assert time.monotonic() - began < 40
    served(service)


def test_idle_connections(service: Service, stack: ExitStack) -> None:
    allow_descriptors(4096)
    connections = [stack.enter_context(connect(service)) for _ in range(1100)]
    for connection in connections:
        connection.sendall(HEALTH)
        assert read_answer(connection).status == 200
    served(service)
    # None was given up for that.
    connections[0].sendall(HEALTH)
    assert read_answer(connections[0]).status == 200


def test_beyond_the_limit_of_connections_the_oldest_idle_one_gives_way(
    start_service: StartService, stack: ExitStack
) -> None:
    service = start_service(GUNICORN_CMD_ARGS="--worker-connections 20")
    service.wait_ready()
    half = stack.enter_context(connect(service))
    half.sendall(HALF_HEAD)
    idle = []
    for _ in range(25):
        idle.append(stack.enter_context(connect(service)))
        idle[-1].sendall(HEALTH)
        assert read_answer(idle[-1]).status == 200
    assert is_closed(idle[0])
    idle[-1].sendall(HEALTH)
    assert read_answer(idle[-1]).status == 200
    # A request that is about to be complete precedes the idle ones.
    half.sendall(HEALTH[-10:])
    assert read_answer(half).status == 200


def test_probes_answer_while_every_thread_waits(narrow: Service) -> None:
    """The threads wait for the database, whose lock another process has."""
    [file] = Path(narrow.environ["VAR_DIR"]).glob("*.sqlite3")
    locked = sqlite3.connect(file, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(30) as pool:
        waiting = [pool.submit(exchange, narrow, post_generate(narrow, max_new_tokens=1)) for _ in range(30)]
        until = time.monotonic() + 2
        while time.monotonic() < until:
            for path in ("/health", "/ready", "/metrics"):
                assert httpx.get(f"{narrow.url}{path}", timeout=10).status_code == 200
        # Only then has the test shown anything.
        assert not any(future.done() for future in waiting)
        locked.execute("ROLLBACK")
        locked.close()
        assert {future.result().status for future in waiting} <= {200, 503}


def test_a_client_that_closes_only_its_own_side_is_answered(service: Service) -> None:
    with connect(service) as connection:
        # Long enough for the client to be asked whether it is still there.
        connection.sendall(post_generate(service, max_new_tokens=200, seed=1))
        connection.shutdown(socket.SHUT_WR)
        answer = read_answer(connection)
    assert answer.status == 200


def test_large_files_that_nobody_reads_cost_no_thread(narrow: Service, stack: ExitStack) -> None:
    path = "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js"
    connections = []
    for _ in range(20):
        connection = stack.enter_context(socket.socket())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(60)
        connection.connect(("127.0.0.1", int(narrow.environ["PORT"])))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(9) == b"HTTP/1.1 "
        connections.append(connection)
    served(narrow)
    body = b""
    while len(body) < 1_000_000:
        body += connections[0].recv(65536)
    file = Path(sidecar).parent / "static" / path.removeprefix("/static/")
    assert body.split(b"\r\n\r\n", 1)[1][:500_000] == file.read_bytes()[:500_000]
