"""The limits of a key with real processes on SQLite and on PostgreSQL: exact, and nothing lost."""

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.limits.gcra import Rate, microseconds
from benchmarks import databases
from llmservice.environment import BASE_DIR

PROCESSES = 4
# Long after every deadline of the requests here.
LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

Job = dict[str, Any]


class Worker:
    """A process of its own that does jobs with the keys of a database."""

    def __init__(self, env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.key_worker"],
            cwd=BASE_DIR,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, job: Job) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def result(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the process failed; its error is above"
        return json.loads(line)

    def kill(self) -> None:
        """End it with SIGKILL, which leaves it no time for anything."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


class Processes:
    """Processes that share one database."""

    def __init__(self, env: dict[str, str]) -> None:
        self.env = env
        self.workers = [Worker(self.env) for _ in range(PROCESSES)]

    def together(self, jobs: list[Job]) -> list[Any]:
        """Do the jobs at the same time, each in its own process."""
        for worker, job in zip(self.workers, jobs, strict=True):
            worker.start(job)
        return [worker.result() for worker in self.workers]

    def one(self, **job: Any) -> Any:
        self.workers[0].start(job)
        return self.workers[0].result()

    def killed_after(self, **job: Any) -> Any:
        """The result of a job whose process is killed as soon as it has done it."""
        worker = Worker(self.env)
        try:
            worker.start(job)
            return worker.result()
        finally:
            worker.kill()

    def kill(self) -> None:
        for worker in self.workers:
            worker.kill()


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def processes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp(request.param)
    database = (
        databases.sqlite(folder)
        if request.param == "sqlite"
        else databases.postgresql(request.getfixturevalue("postgres_url"), folder)
    )
    with database as env:
        processes = Processes(env)
        yield processes
        processes.kill()


def new_key(processes: Processes, **limits: int) -> int:
    return int(processes.one(do="create", name=uuid.uuid4().hex, limits=limits))


def admit(key_id: int, count: int, tokens: int, **more: Any) -> Job:
    return {"do": "admit", "key_id": key_id, "count": count, "tokens": tokens, **more}


def let_in(results: list[list[tuple[str, bool]]]) -> int:
    return sum(admitted for decisions in results for _, admitted in decisions)


def test_200_at_once_at_60_a_minute_are_decided_as_the_algorithm_decides_them_one_by_one(
    processes: Processes,
) -> None:
    key_id = new_key(processes, requests_per_minute=60)
    results = processes.together([admit(key_id, 50, 10, used=5)] * PROCESSES)
    decided = sorted(
        (microseconds(datetime.fromisoformat(moment)), not admitted)
        for decisions in results
        for moment, admitted in decisions
    )
    rate, tat_us, expected = Rate(per_minute=60, burst=60), 0, []
    for now_us, _ in decided:
        conforms = rate.wait_us(tat_us, now_us=now_us) == 0
        tat_us = rate.taken(tat_us, now_us=now_us) if conforms else tat_us
        expected.append((now_us, not conforms))
    assert decided == expected
    seconds = (decided[-1][0] - decided[0][0]) // 1_000_000
    admitted = let_in(results)
    assert 60 <= admitted <= 60 + seconds
    account = processes.one(do="account", key_id=key_id)
    assert account["finished"] == admitted
    assert account["refused"] == 200 - admitted
    assert account["tokens"] == 5 * admitted
    assert account["running"] == 0


def test_at_one_moment_exactly_the_burst_is_let_in(processes: Processes) -> None:
    key_id = new_key(processes, requests_per_minute=600, burst=7)
    now = datetime.now(UTC).isoformat()
    results = processes.together([admit(key_id, 10, 1, used=1, now=now)] * PROCESSES)
    assert let_in(results) == 7


def test_a_token_budget_is_used_up_to_the_last_whole_request_and_not_one_token_further(
    processes: Processes,
) -> None:
    key_id = new_key(processes, tokens_per_day=1000)
    now = datetime.now(UTC).isoformat()
    results = processes.together([admit(key_id, 50, 7, now=now)] * PROCESSES)
    assert let_in(results) == 1000 // 7
    rest = 1000 % 7
    assert let_in([processes.one(**admit(key_id, 1, rest + 1, now=now))]) == 0
    assert let_in([processes.one(**admit(key_id, 1, rest, now=now))]) == 1


def test_what_is_settled_is_counted_to_the_token_and_the_rest_is_free_again(processes: Processes) -> None:
    key_id = new_key(processes, tokens_per_day=1000)
    now = datetime.now(UTC).isoformat()
    results = processes.together([admit(key_id, 25, 40, used=3, now=now)] * PROCESSES)
    admitted = let_in(results)
    # Four run at once at the most and hold 40 each; whatever else is used came at 3 each.
    assert admitted == 100
    assert processes.one(do="account", key_id=key_id)["tokens"] == 300
    assert let_in([processes.one(**admit(key_id, 1, 701, now=now))]) == 0
    assert let_in([processes.one(**admit(key_id, 1, 700, now=now))]) == 1


def test_so_many_run_at_once_and_no_more(processes: Processes) -> None:
    key_id = new_key(processes, max_concurrent=10)
    results = processes.together([admit(key_id, 20, 1)] * PROCESSES)
    assert let_in(results) == 10
    assert processes.one(do="account", key_id=key_id)["running"] == 10


def test_what_a_killed_process_held_is_given_back_after_its_deadline_exactly_once(
    processes: Processes,
) -> None:
    key_id = new_key(processes, tokens_per_day=100, max_concurrent=5)
    assert let_in([processes.killed_after(**admit(key_id, 5, 20))]) == 5
    assert let_in([processes.one(**admit(key_id, 1, 1))]) == 0
    given_back = processes.together([{"do": "give_back", "now": LATER}] * PROCESSES)
    assert sum(given_back) >= 5  # Other tests of this database left some as well.
    account = processes.one(do="account", key_id=key_id)
    assert (account["lost"], account["tokens"], account["running"]) == (5, 0, 0)
    assert let_in([processes.one(**admit(key_id, 5, 20))]) == 5


def test_the_next_request_of_a_key_finds_what_a_killed_process_held(processes: Processes) -> None:
    key_id = new_key(processes, max_concurrent=5)
    processes.killed_after(**admit(key_id, 5, 20))
    results = processes.together([admit(key_id, 5, 1, now=LATER)] * PROCESSES)
    assert let_in(results) == 5
    account = processes.one(do="account", key_id=key_id)
    assert (account["lost"], account["running"]) == (5, 5)


def test_keys_do_not_wait_for_each_other_in_vain(processes: Processes) -> None:
    keys = [new_key(processes, requests_per_minute=1000, tokens_per_day=10**6) for _ in range(PROCESSES)]
    results = processes.together([admit(key_id, 50, 10, used=4) for key_id in keys])
    assert let_in(results) == 50 * PROCESSES
    for key_id in keys:
        assert processes.one(do="account", key_id=key_id)["tokens"] == 200
