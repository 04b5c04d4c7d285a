"""Whether keys are charged for what clients received when the database is away, silent, locked or full.

PostgreSQL is needed for `away` and `silent`, and the right to mount for `full`.
"""

import http.client
import json
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks import databases
from benchmarks.http.servers import Server, llmservice
from benchmarks.trial.place import Failed
from benchmarks.trial.wire import Wire

SERVER = "postgres://postgres@127.0.0.1:5432/postgres"
CLIENTS = 4
# Before the database goes away, and after it has come back.
AROUND_S = 5.0
CHARGED_WITHIN_S = 30.0
# An answer may take longer than any before the database went away, by so much.
LONGER_S = 2.0
DISK_BYTES = 16 << 20

TOKENS = "SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM accounts_dailyusage"

Query = Callable[[str], int]


@dataclass
class Seen:
    """What clients saw: the tokens and the time of each text, by when it came, and the refusals."""

    texts: list[tuple[float, int, float]] = field(default_factory=list)
    refused: int = 0

    def longest_s(self, begin: float, end: float) -> float:
        """The longest time of a text that came between these moments."""
        return max((took for at, _, took in self.texts if begin <= at <= end), default=0.0)


def away(*, model: Path, folder: Path, seconds: float, postgres: str = SERVER) -> str:
    """PostgreSQL closes its connections and refuses new ones."""
    with _on_postgresql(model, folder, postgres) as (server, query, wire):
        return _charged(server, query, seconds, wire.cut, wire.mend)


def silent(*, model: Path, folder: Path, seconds: float, postgres: str = SERVER) -> str:
    """PostgreSQL says nothing and closes nothing."""
    with _on_postgresql(model, folder, postgres) as (server, query, wire):
        return _charged(server, query, seconds, wire.silence, wire.resume)


def locked(*, model: Path, folder: Path, seconds: float) -> str:
    """Another program holds SQLite's lock."""
    with llmservice(model, folder, threads=1) as server:
        server.wait_ready()
        path = folder / "db.sqlite3"
        other = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        return _charged(
            server,
            _sqlite(path),
            seconds,
            lambda: other.execute("BEGIN EXCLUSIVE"),
            lambda: other.execute("ROLLBACK"),
        )


def full(*, model: Path, folder: Path, seconds: float) -> str:
    """The disk of the database and of the journal is full."""
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)],  # noqa: S607
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise Failed("a disk of its own cannot be mounted here: run it as root") from error
    filler = folder / "filler"

    def fill() -> None:
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)

    try:
        with llmservice(model, folder, threads=1) as server:
            server.wait_ready()
            return _charged(server, _sqlite(folder / "db.sqlite3"), seconds, fill, filler.unlink)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def _charged(
    server: Server,
    query: Query,
    seconds: float,
    take_away: Callable[[], object],
    give_back: Callable[[], object],
) -> str:
    """Generate all the time, take the database away for so long, and compare; returns the figures."""
    seen, end = Seen(), threading.Event()
    clients = [threading.Thread(target=_generate, args=(server, seen, end)) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    begin = time.monotonic()
    time.sleep(AROUND_S)
    usual_s = seen.longest_s(begin, time.monotonic())
    taken = time.monotonic()
    take_away()
    time.sleep(seconds)
    give_back()
    given_back = time.monotonic()
    time.sleep(AROUND_S)
    end.set()
    for client in clients:
        client.join()
    received = sum(tokens for _, tokens, _ in seen.texts)
    until = time.monotonic() + CHARGED_WITHIN_S
    while (charged := query(TOKENS)) != received and time.monotonic() < until:
        time.sleep(0.1)
    without = [tokens for at, tokens, _ in seen.texts if taken < at < given_back]
    longest_s = seen.longest_s(taken, given_back)
    figures = (
        f"received {received}, charged {charged}; without the database {sum(without)} tokens in "
        f"{len(without)} texts, each within {longest_s:.1f} s (before: {usual_s:.1f} s); "
        f"{seen.refused} refused"
    )
    if charged != received or not without or longest_s > usual_s + LONGER_S:
        raise Failed(figures)
    return figures


def _generate(server: Server, seen: Seen, end: threading.Event) -> None:
    """One client, which goes on after a refusal."""
    address = urlsplit(server.url)
    body = json.dumps({"prompt": "Once upon a time", "max_new_tokens": 16})
    headers = {"X-API-Key": server.key, "Content-Type": "application/json"}
    while not end.is_set():
        began = time.monotonic()
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=120)
        connection.request("POST", "/generate", body, headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        if response.status == 200:
            now = time.monotonic()
            seen.texts.append((now, answer["usage"]["total_tokens"], now - began))
        else:
            seen.refused += 1
            end.wait(0.5)


@contextmanager
def _on_postgresql(model: Path, folder: Path, postgres: str) -> Iterator[tuple[Server, Query, Wire]]:
    with databases.postgresql(postgres, folder) as environ:
        url = environ["DATABASE_URL"]

        def query(sql: str) -> int:
            with psycopg.connect(url) as connection:
                row = connection.execute(sql).fetchone()
            return int(row[0]) if row else 0

        wire = Wire(url)
        with llmservice(model, folder, threads=1, DATABASE_URL=wire.url) as server:
            server.wait_ready()
            yield server, query, wire
        wire.cut()


def _sqlite(path: Path) -> Query:
    def query(sql: str) -> int:
        connection = sqlite3.connect(path)
        try:
            return int(connection.execute(sql).fetchone()[0])
        finally:
            connection.close()

    return query
