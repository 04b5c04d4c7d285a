"""No client can hold the service by its connections."""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.http.servers import Server
from benchmarks.trial.place import Place, allow_descriptors, trial
from llmservice.environment import BASE_DIR

SLOW = 1000
IDLE = 2000
SILENT = 40
HEALTH_P99_S = 0.1


@trial
def half_a_head(place: Place) -> None:
    """1,000 connections with half a head: /health's p99 under 100 ms, a request served, descriptors back."""
    _slow(place, "half-a-head")


@trial
def half_a_body(place: Place) -> None:
    """1,000 connections with half a body: the same."""
    _slow(place, "half-a-body")


@trial
def byte_by_byte(place: Place) -> None:
    """1,000 connections with a byte a second: the same."""
    _slow(place, "byte-by-byte")


@trial
def silent_closers(place: Place) -> None:
    """40 clients at a time that leave their connection open after `Connection: close`: /health answers."""
    with place.service() as server, ExitStack() as stack:
        began = time.monotonic()
        for _ in range(SILENT):
            connection = stack.enter_context(_connection(server))
            _get_health(connection, close=True)
        place.check(
            time.monotonic() - began < SILENT * 0.5, f"{SILENT} answers in {time.monotonic() - began:.1f} s"
        )
        _check_health(place, server, 5)


@trial
def idle_connections(place: Place) -> None:
    """2,000 idle keep-alive connections: /health answers, a request is served, none is closed."""
    allow_descriptors(IDLE + 100)
    with place.service() as server, ExitStack() as stack:
        connections = [stack.enter_context(_connection(server)) for _ in range(IDLE)]
        for connection in connections:
            _get_health(connection)
        _check_health(place, server, 10)
        _generate(server)
        for connection in connections[:: IDLE // 10]:
            _get_health(connection)


@trial
def closing_costs_little(place: Place) -> None:
    """Clients that close get about the throughput of those that keep their connection."""
    seconds = place.seconds / 6
    with place.service() as server:
        rates: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(3):
            for close in (False, True):
                rates[close].append(_health_rate(server, seconds / 3, close=close))
        kept, closed = max(rates[False]), max(rates[True])
        text = f"{closed:.0f} answers/s with close, {kept:.0f} with keep-alive: {closed / kept:.2f}"
        place.check(closed > 0.5 * kept, text)


def _slow(place: Place, kind: str) -> None:
    allow_descriptors(SLOW)
    with place.service() as server:
        _generate(server)
        before = _descriptors(server)
        with _slow_clients(server, kind, place.seconds):
            _check_health(place, server, place.seconds - 5)
            began = time.monotonic()
            _generate(server)
            place.note(f"a request in {time.monotonic() - began:.1f} s")
        until = time.monotonic() + 20
        while (after := _descriptors(server)) > before + 10 and time.monotonic() < until:
            time.sleep(0.5)
        place.check(after <= before + 10, f"descriptors {before} before, {after} after")


@contextmanager
def _slow_clients(server: Server, kind: str, seconds: float) -> Iterator[None]:
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.trial.slow_clients", server.url, kind, str(SLOW), str(seconds)],
        cwd=BASE_DIR,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        if process.stdout is None or process.stdout.readline() != "open\n":
            raise RuntimeError("the slow clients could not connect")
        yield
    finally:
        process.kill()
        process.wait()


def _check_health(place: Place, server: Server, seconds: float) -> None:
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.perf_counter()
        with _connection(server) as connection:
            _get_health(connection)
        times.append(time.perf_counter() - began)
        time.sleep(0.05)
    p99 = sorted(times)[int(0.99 * len(times))]
    place.check(p99 < HEALTH_P99_S, f"/health p99 {1000 * p99:.0f} ms, max {1000 * max(times):.0f} ms")


def _health_rate(server: Server, seconds: float, *, close: bool) -> float:
    count = 0
    began = time.monotonic()
    connection = _connection(server)
    while (elapsed := time.monotonic() - began) < seconds:
        _get_health(connection, close=close)
        count += 1
    connection.close()
    return count / elapsed


class _Connection(http.client.HTTPConnection):
    def __enter__(self) -> "_Connection":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _connection(server: Server) -> _Connection:
    address = urlsplit(server.url)
    return _Connection(str(address.hostname), address.port, timeout=30)


def _get_health(connection: http.client.HTTPConnection, *, close: bool = False) -> None:
    connection.request("GET", "/health", headers={"Connection": "close"} if close else {})
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise RuntimeError(f"/health answered {answer.status}")


def _generate(server: Server) -> None:
    body = json.dumps({"prompt": "The sea", "max_new_tokens": 4})
    headers = {"X-API-Key": server.key, "Content-Type": "application/json"}
    with _connection(server) as connection:
        connection.request("POST", "/generate", body, headers)
        answer = connection.getresponse()
        said = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"/generate answered {answer.status}: {said!r}")


def _descriptors(server: Server) -> int:
    """Of the server's processes together."""
    main = server.process.pid
    children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
    return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in [str(main), *children])
