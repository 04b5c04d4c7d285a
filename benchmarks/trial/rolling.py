"""A rolling restart: two services on one PostgreSQL behind nginx, replaced one after the other under load."""

import itertools
import secrets
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg

from benchmarks import databases
from benchmarks.http.servers import Server, free_port, llmservice, served_model
from benchmarks.program import nginx
from benchmarks.soak.asked import asked
from benchmarks.soak.client import Client
from benchmarks.trial.database import TOKENS
from benchmarks.trial.place import Failed

CLIENTS = 6
# A service that ends answers 503 before anything is generated, or closes an idle connection.
RETRIES = "proxy_next_upstream error timeout http_503 non_idempotent; proxy_connect_timeout 2s;"
# One that was left alone for a while would be missing when the other ends.
FAILURES = "max_fails=0"
SETTLED_WITHIN_S = 30.0


def restart(*, server: str, model: Path, folder: Path, seconds: float) -> str:
    """Restart both; what was seen.

    Raises:
        Failed: a request was lost or refused, or the account is not what clients received.
    """
    if shutil.which("nginx") is None:
        raise Failed("nginx is not installed")
    with databases.postgresql(server, folder) as environ, ExitStack() as stack:
        shared = {"DATABASE_URL": environ["DATABASE_URL"], "SECRET_KEY": secrets.token_urlsafe(40)}
        settings = [{**shared, "PORT": str(free_port())} for _ in range(2)]
        nodes = [_Node(model, folder / f"node {number}", one) for number, one in enumerate(settings)]
        for node in nodes:
            stack.callback(node.end)
            node.start()
        urls = [node.url for node in nodes]
        front = stack.enter_context(nginx(urls, folder / "nginx", retries=RETRIES, failures=FAILURES))
        clients, ending, threads = _clients(front, nodes[0].key)
        time.sleep(seconds / 4)
        took = []
        for node in nodes:
            took.append(node.restart())
            time.sleep(seconds / 4)
        ending.set()
        for thread in threads:
            thread.join()
        return f"restarted in {took[0]:.0f} and {took[1]:.0f} s; {_judged(clients, environ['DATABASE_URL'])}"


class _Node:
    """A service that can be restarted at its address."""

    def __init__(self, model: Path, folder: Path, settings: Mapping[str, str]) -> None:
        self._model, self._folder, self._settings = model, folder, settings
        self._running = ExitStack()
        self.url = f"http://127.0.0.1:{settings['PORT']}"
        self.key = ""
        folder.mkdir()

    def start(self) -> None:
        service = llmservice(self._model, self._folder, threads=1, **self._settings)
        server: Server = self._running.enter_context(service)
        self.key = server.key
        server.wait_ready()

    def end(self) -> None:
        self._running.close()

    def restart(self) -> float:
        """End it as an operator does, start it again, and wait until it is ready; returns the seconds."""
        began = time.monotonic()
        self.end()
        self.start()
        return time.monotonic() - began


def _clients(url: str, key: str) -> tuple[list[Client], threading.Event, list[threading.Thread]]:
    name = served_model(url, key)
    seeds, ending = itertools.count(), threading.Event()
    clients = [Client(url, key) for _ in range(CLIENTS)]
    threads = [
        threading.Thread(target=client.run, args=(lambda: asked(next(seeds), name, leaves=False), ending))
        for client in clients
    ]
    for thread in threads:
        thread.start()
    return clients, ending, threads


def _charged(database: str) -> int:
    with psycopg.connect(database) as connection:
        row = connection.execute(TOKENS).fetchone()
    assert row is not None  # noqa: S101
    return int(row[0])


def _judged(clients: Sequence[Client], database: str) -> str:
    outcomes = sum((client.seen.outcomes for client in clients), start=type(clients[0].seen.outcomes)())
    lost = {name: n for name, n in outcomes.items() if name == "broken" or name.startswith("status ")}
    received = sum(client.seen.tokens for client in clients)
    until = time.monotonic() + SETTLED_WITHIN_S
    while (charged := _charged(database)) < received and time.monotonic() < until:
        time.sleep(0.5)
    seen = (
        f"{outcomes.total()} requests, lost or refused {lost or 'none'}; "
        f"{received} tokens received, {charged} charged"
    )
    faults = [fault for client in clients for fault in client.seen.faults]
    if lost or faults or charged != received:
        raise Failed("; ".join([seen, *faults[:2]]))
    return seen
