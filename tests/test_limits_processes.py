"""The limits of a key under concurrent processes on SQLite and PostgreSQL are exact and lose nothing."""

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

pytestmark = pytest.mark.slow  # It starts processes.

PROCESSES = 4
# After the deadline of every request here.
LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()

Job = dict[str, Any]


class Worker:
    """A process that runs jobs on the keys of a database."""

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
        """Kill the process with SIGKILL, so that it cannot clean up."""
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
        """Run the jobs concurrently, each in its own process."""
        for worker, job in zip(self.workers, jobs, strict=True):
            worker.start(job)
        return [worker.result() for worker in self.workers]

    def one(self, **job: Any) -> Any:
        self.workers[0].start(job)
        return self.workers[0].result()

    def killed_after(self, **job: Any) -> Any:
        """Return the result of a job whose process is killed as soon as the job is done."""
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


def admitted_count(results: list[list[tuple[str, bool]]]) -> int:
    return sum(admitted for decisions in results for _, admitted in decisions)


def test_200_concurrent_requests_at_60_per_minute_are_decided_as_if_sequential(
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
    admitted = admitted_count(results)
    assert 60 <= admitted <= 60 + seconds
    account = processes.one(do="account", key_id=key_id)
    assert account["finished"] == admitted
    assert account["refused"] == 200 - admitted
    assert account["tokens"] == 5 * admitted
    assert account["running"] == 0


def test_exactly_the_burst_is_admitted_at_one_moment(processes: Processes) -> None:
    key_id = new_key(processes, requests_per_minute=600, burst=7)
    now = datetime.now(UTC).isoformat()
    results = processes.together([admit(key_id, 10, 1, used=1, now=now)] * PROCESSES)
    assert admitted_count(results) == 7


def test_a_token_limit_admits_every_request_that_fits_and_not_one_token_more(
    processes: Processes,
) -> None:
    key_id = new_key(processes, tokens_per_day=1000)
    now = datetime.now(UTC).isoformat()
    results = processes.together([admit(key_id, 50, 7, now=now)] * PROCESSES)
    assert admitted_count(results) == 1000 // 7
    rest = 1000 % 7
    assert admitted_count([processes.one(**admit(key_id, 1, rest + 1, now=now))]) == 0
    assert admitted_count([processes.one(**admit(key_id, 1, rest, now=now))]) == 1


def test_settled_tokens_are_counted_exactly_and_the_rest_is_released(processes: Processes) -> None:
    key_id = new_key(processes, tokens_per_day=1000)
    now = datetime.now(UTC).isoformat()
    results = processes.together([admit(key_id, 25, 40, used=3, now=now)] * PROCESSES)
    admitted = admitted_count(results)
    # At most four run at once with 40 reserved each; each settled request has used 3.
    assert admitted == 100
    assert processes.one(do="account", key_id=key_id)["tokens"] == 300
    assert admitted_count([processes.one(**admit(key_id, 1, 701, now=now))]) == 0
    assert admitted_count([processes.one(**admit(key_id, 1, 700, now=now))]) == 1


def test_no_more_requests_run_than_the_concurrency_limit(processes: Processes) -> None:
    key_id = new_key(processes, max_concurrent=10)
    results = processes.together([admit(key_id, 20, 1)] * PROCESSES)
    assert admitted_count(results) == 10
    assert processes.one(do="account", key_id=key_id)["running"] == 10


def test_the_reservations_of_a_killed_process_are_released_exactly_once_after_their_deadline(
    processes: Processes,
) -> None:
    key_id = new_key(processes, tokens_per_day=100, max_concurrent=5)
    assert admitted_count([processes.killed_after(**admit(key_id, 5, 20))]) == 5
    assert admitted_count([processes.one(**admit(key_id, 1, 1))]) == 0
    released = processes.together([{"do": "release_overdue", "now": LATER}] * PROCESSES)
    assert sum(released) >= 5  # Other tests on this database may have left some too.
    account = processes.one(do="account", key_id=key_id)
    assert (account["lost"], account["tokens"], account["running"]) == (5, 0, 0)
    assert admitted_count([processes.one(**admit(key_id, 5, 20))]) == 5


def test_the_next_request_of_a_key_releases_the_reservations_of_a_killed_process(
    processes: Processes,
) -> None:
    key_id = new_key(processes, max_concurrent=5)
    processes.killed_after(**admit(key_id, 5, 20))
    results = processes.together([admit(key_id, 5, 1, now=LATER)] * PROCESSES)
    assert admitted_count(results) == 5
    account = processes.one(do="account", key_id=key_id)
    assert (account["lost"], account["running"]) == (5, 5)


def test_concurrent_keys_do_not_fail_on_locks(processes: Processes) -> None:
    keys = [new_key(processes, requests_per_minute=1000, tokens_per_day=10**6) for _ in range(PROCESSES)]
    results = processes.together([admit(key_id, 50, 10, used=4) for key_id in keys])
    assert admitted_count(results) == 50 * PROCESSES
    for key_id in keys:
        assert processes.one(do="account", key_id=key_id)["tokens"] == 200
