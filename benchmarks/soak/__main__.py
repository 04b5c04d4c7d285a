"""Runs a soak and prints its report: `python -m benchmarks.soak`. It ends with 1 if something was lost.

Several keys send every kind of request to two workers. Meanwhile one worker is killed, and the database is
away for 20 s, for which PostgreSQL is needed. At the end nothing may be lost: usage equals what the clients
received, memory and descriptors are flat, and texts are those that the same requests give alone.

Only clients of the last key leave before their answers end, so the accounts of the others are known exactly.
"""

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks import databases
from benchmarks.http.servers import Server, llmservice, served_model
from benchmarks.process_memory import family
from benchmarks.results import progress
from benchmarks.soak.asked import Asked, asked
from benchmarks.soak.client import Answer, Broken, Client
from benchmarks.soak.watch import Watch
from benchmarks.trial.wire import Wire
from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR

_SERVER = "postgres://postgres@127.0.0.1:5432/postgres"
_AWAY_S = 20.0
_AFTER_KILL_S = 15.0
_TIMEOUT_S = 90.0
# What a dead worker had reserved is free once the request could no longer run.
_SETTLED_WITHIN_S = 1.5 * _TIMEOUT_S
_GROWTH = 1.1


@dataclass
class Report:
    """The lines of the report; a line that begins with False is a fault."""

    lines: list[tuple[bool, str, str]] = field(default_factory=list)

    def add(self, holds: bool, what: str, seen: str) -> None:
        """Add a line: whether it is as it should be, what was looked at, and what was seen."""
        self.lines.append((holds, what, seen))

    def __str__(self) -> str:
        return "\n".join(
            f"{'ok   ' if holds else 'FAULT'}  {what}: {seen}" for holds, what, seen in self.lines
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--keys", type=int, default=4)
    parser.add_argument("--clients", type=int, default=3, help="of each key")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, help="folder of a model; the quick-start model by default")
    parser.add_argument("--postgres", default=_SERVER, help="URL of a server whose user may create databases")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting")
    given = parser.parse_args(argv)
    model = given.model or ensure_model(BASE_DIR / "var", progress)
    with (
        tempfile.TemporaryDirectory() as scratch,
        databases.postgresql(given.postgres, Path(scratch)) as environ,
    ):
        wire = Wire(environ["DATABASE_URL"])
        settings = {
            "DATABASE_URL": wire.url,
            "WEB_CONCURRENCY": "2",
            "LLM_REQUEST_TIMEOUT_S": f"{_TIMEOUT_S}",
            # Filled within seconds: memory grows until it is.
            "LLM_KV_CACHE_TOKENS": "4096",
        }
        settings |= dict(setting.split("=", 1) for setting in given.set)
        with llmservice(model, Path(scratch), threads=1, **settings) as server:
            server.wait_ready()
            report = _soak(server, wire, environ, given)
        wire.cut()
    print(report)
    return int(not all(holds for holds, _, _ in report.lines))


def _soak(server: Server, wire: Wire, environ: Mapping[str, str], given: argparse.Namespace) -> Report:
    report, watch, end = Report(), Watch(server.process.pid), threading.Event()
    keys = [_new_key(environ, f"soak {number}") for number in range(given.keys)]
    clients = {key: [Client(server.url, key) for _ in range(given.clients)] for key in keys}
    name = served_model(server.url, server.key)
    seeds = itertools.count(given.seed)
    threads = [
        threading.Thread(target=client.run, args=(_requests(seeds, name, leaves=key == keys[-1]), end))
        for key, own in clients.items()
        for client in own
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    killed_at = _disturb(server, wire, given.seconds)
    end.set()
    for thread in threads:
        thread.join()
    _judge_clients(report, [client for own in clients.values() for client in own], killed_at)
    for number, (key, own) in enumerate(clients.items()):
        _judge_usage(report, server, f"key {number}", key, own)
    _judge_texts(report, Client(server.url, server.key), [c for own in clients.values() for c in own])
    watch.stop()
    _judge_growth(report, watch, began, given.seconds)
    return report


def _requests(seeds: Iterator[int], model: str, *, leaves: bool) -> Callable[[], Asked]:
    # `next` of a count is one call of C, so threads may share it.
    return lambda: asked(next(seeds), model, leaves=leaves)


def _disturb(server: Server, wire: Wire, seconds: float) -> float:
    """Kill a worker after 2/5 of the time, cut the database off after 3/5; returns the time of the kill."""
    time.sleep(0.4 * seconds)
    progress("A worker is killed.", last=True)
    worker = max(set(family(server.process.pid)) - {server.process.pid}, key=_threads)
    killed_at = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    time.sleep(0.2 * seconds)
    progress("The database is away.", last=True)
    away_s = min(_AWAY_S, 0.1 * seconds)
    wire.cut()
    time.sleep(away_s)
    wire.mend()
    progress("The database is back.", last=True)
    time.sleep(0.4 * seconds - away_s)
    return killed_at


def _judge_clients(report: Report, clients: list[Client], killed_at: float) -> None:
    outcomes: Counter[str] = sum((client.seen.outcomes for client in clients), Counter())
    report.add(True, "requests", ", ".join(f"{name} {count}" for name, count in sorted(outcomes.items())))
    faults = [fault for client in clients for fault in client.seen.faults]
    report.add(not faults, "refusals", "; ".join(faults[:3]) or "each with its reason and Retry-After")
    broken = [at for client in clients for at in client.seen.broken_at]
    other = sum(not killed_at <= at <= killed_at + _AFTER_KILL_S for at in broken)
    report.add(not other, "broken connections", f"{len(broken)}, of which {other} not by the kill")


def _judge_usage(report: Report, server: Server, name: str, key: str, clients: list[Client]) -> None:
    """Hold the account to what was received; what clients left or lost may have cost up to its bound."""
    received = sum(client.seen.tokens for client in clients)
    unknown = sum(client.seen.unknown_tokens for client in clients)
    until = time.monotonic() + _SETTLED_WITHIN_S
    charged, reserved = _account(server, key)
    while reserved and time.monotonic() < until:
        time.sleep(0.5)
        charged, reserved = _account(server, key)
    holds = received <= charged <= received + unknown and not reserved
    seen = f"received {received}, charged {charged}, reserved {reserved}, at most {unknown} for what was left"
    report.add(holds, name, seen)


def _account(server: Server, key: str) -> tuple[int, int]:
    today = httpx.get(f"{server.url}/keys/me", headers={"X-API-Key": key}, timeout=30).json()["today"]
    return today["prompt_tokens"] + today["completion_tokens"], today["reserved_tokens"]


def _judge_texts(report: Report, alone: Client, clients: list[Client]) -> None:
    kept = [one for client in clients for one in client.seen.kept if not one[0].refused]
    different = []
    for request, texts in kept:
        try:
            answer = alone.ask(request)
        except Broken as broken:
            answer = Answer((str(broken),), 0)
        if not isinstance(answer, Answer) or answer.texts != texts:
            different.append(f"{request.kind} {request.body}")
    report.add(
        not different, "texts again, alone", f"{len(kept)} compared, {len(different)} differ {different[:1]}"
    )


def _judge_growth(report: Report, watch: Watch, began: float, seconds: float) -> None:
    early = watch.between(began + 0.2 * seconds, began + 0.4 * seconds)
    late = watch.between(began + 0.8 * seconds, began + seconds)
    for what, before, after, unit in zip(("memory", "descriptors"), early, late, (" MB", ""), strict=True):
        report.add(after <= before * _GROWTH, what, f"{before:.0f}{unit}, at the end {after:.0f}{unit}")


def _new_key(environ: Mapping[str, str], name: str) -> str:
    return subprocess.run(
        [sys.executable, "manage.py", "create_key", name],
        cwd=BASE_DIR,
        env=environ,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


def _threads(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())


if __name__ == "__main__":
    sys.exit(main())
