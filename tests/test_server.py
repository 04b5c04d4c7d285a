"""The worker under gunicorn, with a small application: streams, slow readers, threads and its end."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

import pytest

from llmservice.environment import BASE_DIR
from tests.openai_api import error_of

pytestmark = pytest.mark.slow  # It starts processes.

HOST = "Host: localhost\r\n"


@dataclass(frozen=True)
class Running:
    port: int
    process: subprocess.Popen[bytes]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def get(self, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()

    def counted(self) -> dict[str, int]:
        counted: dict[str, int] = json.loads(self.get("/counted"))
        return counted

    def wait_counted(self, name: str, value: int) -> None:
        until = time.monotonic() + 20
        while self.counted().get(name) != value:
            assert time.monotonic() < until, self.counted()
            time.sleep(0.1)


@contextmanager
def running(*options: str) -> Iterator[Running]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "--worker-class", "llmservice.server.worker.Worker"),
            *("--bind", f"127.0.0.1:{port}", "--threads", "4", "--no-control-socket", *options),
            "tests.server_app:application",
        ],
        cwd=BASE_DIR,
        env=os.environ | {"DJANGO_SETTINGS_MODULE": "tests.settings"},
        stderr=subprocess.DEVNULL,
    )
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.05)
        yield Running(port, process)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with running() as server:
        yield server


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What arrives up to `end`; all that comes if the connection ends before."""
    data = b""
    while end not in data and (more := connection.recv(65536)):
        data += more
    return data


def test_pieces_of_a_stream_are_sent_as_they_come(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET /ticks HTTP/1.1\r\n{HOST}\r\n".encode())
        first = read_until(connection, b"0\n\r\n")
        assert b"Transfer-Encoding: chunked" in first
        assert b"1\n" not in first
        assert b"4\n" in read_until(connection, b"0\r\n\r\n")


def test_a_reader_that_stops_stops_the_stream_and_holds_no_more_than_some_memory(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET /flood HTTP/1.1\r\n{HOST}\r\n".encode())
        read_until(connection, b"\r\n\r\n")
        until, before = time.monotonic() + 20, -1
        while (pieces := server.counted()["pieces"]) != before and time.monotonic() < until:
            before = pieces
            time.sleep(0.5)
        assert pieces * 65536 < 40e6  # most of it in the buffers of the system
        received = 0
        while received < 2 * pieces * 65536:
            received += len(connection.recv(1 << 20))
        assert server.counted()["pieces"] > pieces
    server.wait_counted("closed", 1)


def test_small_answers_that_nobody_reads_cost_no_thread(server: Running) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            connection = stack.enter_context(server.connect())
            connection.sendall(f"GET /counted HTTP/1.1\r\n{HOST}\r\n".encode() * 50)
        assert server.counted()


def test_a_client_that_has_left_is_noticed_though_its_answer_is_not_written_yet(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET /gone HTTP/1.1\r\n{HOST}\r\n".encode())
    server.wait_counted("gone", 1)


def test_a_client_that_closes_its_own_side_gets_an_interim_answer_and_the_final_one(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET /gone HTTP/1.1\r\n{HOST}\r\n".encode())
        connection.shutdown(socket.SHUT_WR)
        answer = read_until(connection, b"no such end")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in answer
    assert answer.count(b"HTTP/1.1 100 Continue") <= 5
    server.wait_counted("gone", 0)


@pytest.mark.parametrize(
    ("framing", "body", "length"),
    [
        ("Content-Length: 5", "hello", 5),
        ("Transfer-Encoding: chunked", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 5),
    ],
)
def test_a_body_reaches_the_application_whole(server: Running, framing: str, body: str, length: int) -> None:
    with server.connect() as connection:
        connection.sendall(
            f"POST /echo HTTP/1.1\r\n{HOST}Connection: close\r\n{framing}\r\n\r\n{body[:3]}".encode()
        )
        time.sleep(0.1)
        connection.sendall(body[3:].encode())
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert answer.read() == f"{length} hello".encode()


@pytest.mark.parametrize("path", ["/fails", "/injects"])
def test_a_failure_of_the_application_is_a_problem(server: Running, path: str) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{HOST}\r\n".encode())
        answer = read_until(connection, b"no such end")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"application/problem+json" in answer
    assert b"Set-Cookie" not in answer
    assert b"RuntimeError" not in answer


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("GET /v1/fails HTTP/1.1\r\n" + HOST, 500),
        ("POST /v1/completions HTTP/1.1\r\nExpect: miracles\r\n" + HOST, 417),
        ("POST /v1/completions HTTP/1.1\r\n", 400),
    ],
)
def test_a_failure_at_an_address_of_openai_has_its_form(server: Running, sent: str, status: int) -> None:
    with server.connect() as connection:
        connection.sendall(f"{sent}\r\n".encode())
        answer = read_until(connection, b"no such end")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert error_of(answer)["message"]


def test_a_stream_that_fails_in_the_middle_ends_without_its_last_chunk(server: Running) -> None:
    with server.connect() as connection:
        connection.sendall(f"GET /breaks HTTP/1.1\r\n{HOST}\r\n".encode())
        answer = read_until(connection, b"no such end")
    assert b"begun" in answer
    assert not answer.endswith(b"0\r\n\r\n")


def test_probes_answer_while_every_thread_is_busy(server: Running) -> None:
    with ThreadPoolExecutor(12) as pool:
        busy = [pool.submit(server.get, "/sleep") for _ in range(12)]
        time.sleep(0.3)
        began = time.monotonic()
        server.get("/health")
        waited = time.monotonic() - began
        assert not all(future.done() for future in busy)
        assert {future.result() for future in busy} == {b"slept"}
    # The 12 take 3 s with 4 threads.
    assert waited < 2


def test_sigterm_lets_answers_be_finished_and_takes_no_new_connections() -> None:
    with running() as server, server.connect() as connection, server.connect() as kept:
        kept.sendall(f"GET /counted HTTP/1.1\r\n{HOST}\r\n".encode())
        read_until(kept, b"}")
        connection.sendall(f"GET /ticks HTTP/1.1\r\n{HOST}\r\n".encode())
        read_until(connection, b"0\n")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        with pytest.raises(ConnectionError):
            server.connect()
        # The client of a kept connection may be sending already.
        kept.sendall(f"GET /counted HTTP/1.1\r\n{HOST}\r\n".encode())
        assert b"Connection: close" in read_until(kept, b"}")
        assert b"4\n" in read_until(connection, b"0\r\n\r\n")
        assert server.process.wait(20) == 0


def test_workers_are_replaced_by_sighup_and_after_their_number_of_requests() -> None:
    with running("--workers", "2", "--max-requests", "5") as server:
        for number in range(30):
            assert server.get("/counted")
            if number == 10:
                server.process.send_signal(signal.SIGHUP)
            time.sleep(0.05)
        assert server.process.poll() is None
