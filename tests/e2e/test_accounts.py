"""A key is charged for what its clients received, to the token, also when the database is away meanwhile."""

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from benchmarks.trial.wire import Wire
from tests.e2e.conftest import NO_CERTIFICATES, READY_WITHIN_S, Service, StartService, running

AT_ONCE = 4
# Every answer of a key with a limit looks up what is left of it.
LIMITED = {"LLM_KEY_TOKENS_PER_DAY": "1000000", "LLM_MAX_RUNNING": str(AT_ONCE)}

Query = Callable[[str], int]


def postgresql(url: str) -> Query:
    def query(sql: str) -> int:
        with psycopg.connect(url) as connection:
            row = connection.execute(sql).fetchone()
        return int(row[0]) if row else 0

    return query


def sqlite(path: Path) -> Query:
    def query(sql: str) -> int:
        with sqlite3.connect(path) as connection:
            return int(connection.execute(sql).fetchone()[0])

    return query


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + READY_WITHIN_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def generate(service: Service, max_new_tokens: int = 60) -> int:
    """The tokens that the answer says were used."""
    answer = httpx.post(
        f"{service.url}/generate",
        headers={"X-API-Key": service.key},
        json={"prompt": "Once upon a time", "max_new_tokens": max_new_tokens, "do_sample": False},
        timeout=120,
        verify=NO_CERTIFICATES,
    )
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["total_tokens"])


def running_requests(query: Query) -> int:
    return query("SELECT count(*) FROM accounts_reservation WHERE NOT lost")


def charged(query: Query) -> int:
    return query("SELECT coalesce(sum(prompt_tokens + completion_tokens), 0) FROM accounts_dailyusage")


def finished(query: Query) -> int:
    return query("SELECT coalesce(sum(finished), 0) FROM accounts_dailyusage")


@contextmanager
def under_way(service: Service, query: Query) -> Iterator[list[Future[int]]]:
    """Requests that have been admitted and not answered when the block begins."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(generate, service) for _ in range(AT_ONCE)]
        wait_until(lambda: running_requests(query) == AT_ONCE)
        yield futures


def kept(service: Service) -> int:
    folder = Path(service.environ["VAR_DIR"]) / "settlements"
    return sum(path.read_text().count("\n") for path in folder.glob("*.jsonl"))


def is_ready(service: Service) -> bool:
    return httpx.get(f"{service.url}/ready", verify=NO_CERTIFICATES).status_code == 200


def kill(service: Service) -> None:
    """Kill the server and its workers, as the kernel does when memory runs out."""
    pid = service.process.pid
    workers = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    for one in (pid, *map(int, workers)):
        os.kill(one, signal.SIGKILL)
    service.process.wait()


def test_texts_that_end_while_the_database_is_away_are_answered_and_charged(
    start_service: StartService, database: str, quickstart_model: Path
) -> None:
    wire, query = Wire(database), postgresql(database)
    service = start_service(DATABASE_URL=wire.url, LLM_MODEL=str(quickstart_model), **LIMITED)
    service.wait_ready()
    received, answered = 0, 0
    for go_away, come_back in ((wire.silence, wire.resume), (wire.cut, wire.mend)):
        before = received
        with under_way(service, query) as futures:
            go_away()
            # They are answered though the database comes back only after that.
            received += sum(future.result() for future in futures)
        assert charged(query) == before
        assert kept(service) == AT_ONCE
        wait_until(lambda: not is_ready(service))
        assert f"llmservice_settlements_waiting {AT_ONCE}.0" in httpx.get(f"{service.url}/metrics").text
        come_back()
        wait_until(lambda: kept(service) == 0)
        assert charged(query) == received
        assert running_requests(query) == 0
        wait_until(lambda: is_ready(service))
        received += generate(service, 5)
        answered += AT_ONCE + 1
        assert (charged(query), finished(query)) == (received, answered)
    service.stop()
    assert not list((Path(service.environ["VAR_DIR"]) / "settlements").iterdir())
    wire.cut()


def test_accounts_of_a_killed_service_are_charged_once_by_the_next(
    start_service: StartService, database: str, quickstart_model: Path, tmp_path: Path
) -> None:
    wire, query = Wire(database), postgresql(database)
    service = start_service(DATABASE_URL=wire.url, LLM_MODEL=str(quickstart_model), **LIMITED)
    service.wait_ready()
    with under_way(service, query) as futures:
        wire.cut()
        received = sum(future.result() for future in futures)
    assert kept(service) == AT_ONCE
    kill(service)
    wire.mend()
    assert charged(query) == 0
    # The database has one of them, and the service was killed before it could tell its journal so.
    [path] = (Path(service.environ["VAR_DIR"]) / "settlements").glob("*.jsonl")
    path.write_text(path.read_text() + path.read_text() + json.dumps({"reservation_id": 1})[:-3])
    with running(service.environ, tmp_path / "again.log") as again:
        again.wait_ready()
        wait_until(lambda: kept(again) == 0)
        assert (charged(query), finished(query)) == (received, AT_ONCE)
        received += generate(again, 5)
    assert (charged(query), finished(query)) == (received, AT_ONCE + 1)
    wire.cut()


@pytest.fixture(scope="module")
def on_sqlite(
    starting: Callable[[Path], AbstractContextManager[StartService]],
    tmp_path_factory: pytest.TempPathFactory,
    quickstart_model: Path,
) -> Iterator[Service]:
    with starting(tmp_path_factory.mktemp("sqlite")) as start:
        service = start(LLM_MODEL=str(quickstart_model), **LIMITED)
        service.wait_ready()
        yield service


def test_texts_that_end_while_sqlite_is_locked_are_answered_and_charged(on_sqlite: Service) -> None:
    service = on_sqlite
    path = Path(service.environ["VAR_DIR"]) / "db.sqlite3"
    query = sqlite(path)
    before, answered = charged(query), finished(query)
    with under_way(service, query) as futures:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        received = sum(future.result() for future in futures)
        assert kept(service) == AT_ONCE
        other.execute("ROLLBACK")
        other.close()
    wait_until(lambda: kept(service) == 0)
    assert (charged(query), finished(query)) == (before + received, answered + AT_ONCE)


def test_a_deleted_database_file_is_noticed(on_sqlite: Service) -> None:
    service = on_sqlite
    generate(service, 1)
    path = Path(service.environ["VAR_DIR"]) / "db.sqlite3"
    path.rename(path.with_name("away"))
    body = {"prompt": "Once", "max_new_tokens": 1}
    for _ in range(8):  # whichever thread answers
        answer = httpx.post(
            f"{service.url}/generate", headers={"X-API-Key": service.key}, json=body, timeout=60
        )
        assert answer.status_code == 503
        assert "file cannot be opened" in answer.json()["detail"]
    wait_until(lambda: not is_ready(service))
    assert "file cannot be opened" in httpx.get(f"{service.url}/ready").json()["detail"]
    assert not path.exists()
    path.with_name("away").rename(path)
    wait_until(lambda: is_ready(service))
    generate(service, 1)
