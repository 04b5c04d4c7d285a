"""The service on PostgreSQL: replicas that start at once, a database that comes back, few connections."""

import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg

from benchmarks.trial.wire import Wire
from llmservice.environment import BASE_DIR
from tests.e2e.conftest import (
    NO_CERTIFICATES,
    READY_WITHIN_S,
    Service,
    StartService,
    free_port,
    manage,
    python,
    service_environ,
)

RECOVERS_WITHIN = 20


def generate(service: Service, max_new_tokens: int = 1) -> httpx.Response:
    return httpx.post(
        f"{service.url}/generate",
        headers={"X-API-Key": service.key},
        json={"prompt": "Once", "max_new_tokens": max_new_tokens},
        timeout=120,
        verify=NO_CERTIFICATES,
    )


def test_a_database_that_goes_away_is_503_and_comes_back_by_itself(
    start_service: StartService, database: str
) -> None:
    wire = Wire(database)
    service = start_service(DATABASE_URL=wire.url)
    service.wait_ready()
    assert generate(service).status_code == 200

    wire.cut()
    refused = generate(service)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert refused.json()["detail"].startswith("The database did not answer")
    assert httpx.get(f"{service.url}/health").status_code == 200

    wire.mend()
    answers = [generate(service).status_code for _ in range(RECOVERS_WITHIN)]
    assert answers[-1] == 200
    assert answers == sorted(answers, reverse=True)  # once it is back it stays
    wire.cut()


def wait_until_workers_are_ready(service: Service, count: int) -> None:
    """`/ready` is answered by any worker; the metrics count those that can generate."""
    service.wait_ready()
    until = time.monotonic() + READY_WITHIN_S
    while (
        f"llmservice_ready {count}.0" not in httpx.get(f"{service.url}/metrics", verify=NO_CERTIFICATES).text
    ):
        assert time.monotonic() < until
        time.sleep(0.25)


def test_full_workers_share_few_connections(start_service: StartService, database: str) -> None:
    service = start_service(
        DATABASE_URL=database, WEB_CONCURRENCY="2", DATABASE_CONNECTIONS="4", LLM_THREADS="1"
    )
    wait_until_workers_are_ready(service, 2)
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        with psycopg.connect(database, autocommit=True) as connection:
            while not done.wait(0.02):
                row = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
                    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
                ).fetchone()
                most = max(most, row[0] if row else 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(60) as pool:
        statuses = list(pool.map(lambda _: generate(service, 2).status_code, range(90)))
    health = httpx.get(f"{service.url}/health").status_code
    done.set()
    watcher.join()

    # On a machine that is slow enough a request waits too long for its turn and is answered 503.
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) > len(statuses) / 2
    assert most <= 2 * 4
    assert health == 200


def test_replicas_that_start_at_once_make_one_database(
    database: str, tmp_path: Path, tiny_model: Path
) -> None:
    started = []
    for name in ("a", "b"):
        environ = service_environ(
            tmp_path / name,
            DATABASE_URL=database,
            SECRET_KEY="the same for both" * 4,
            LLM_MODEL=str(tiny_model),
            DJANGO_SUPERUSER_USERNAME="ada",
            DJANGO_SUPERUSER_PASSWORD="correct horse",
        )
        with (tmp_path / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                python("manage.py", "serve"), cwd=BASE_DIR, env=environ, stderr=log, stdout=log
            )
        url = f"http://127.0.0.1:{environ['PORT']}"
        log_file = tmp_path / f"{name}.log"
        started.append(Service(url=url, key="mysecurekey123", process=process, log=log_file, environ=environ))
    try:
        for service in started:
            service.wait_ready()
            assert generate(service).status_code == 200
    finally:
        assert [service.stop() for service in started] == [0, 0]
    logs = "".join(service.log.read_text() for service in started)
    assert logs.count("Created the first API key") == logs.count("Created the admin account") == 1
    assert "correct horse" not in logs
    assert "mysecurekey123" not in logs


def test_two_first_starts_at_the_same_time_create_one_account(
    database: str, tmp_path: Path, tiny_model: Path
) -> None:
    """Also with a pool of a single connection, which the migrations need."""

    def setup(name: str) -> str:
        environ = service_environ(
            tmp_path / name,
            DATABASE_URL=database,
            DATABASE_CONNECTIONS="1",
            SECRET_KEY="the same for both" * 4,
            LLM_MODEL=str(tiny_model),
        )
        return manage(environ, "setup")

    with ThreadPoolExecutor(2) as pool:
        banners = list(pool.map(setup, ("a", "b")))

    assert sum("with the password" in banner for banner in banners) == 1
    assert all("mysecurekey123" in banner for banner in banners)


def test_a_start_waits_for_the_database_and_then_says_what_is_missing(
    tmp_path: Path, tiny_model: Path
) -> None:
    environ = service_environ(
        tmp_path,
        DATABASE_URL=f"postgres://u:hush@127.0.0.1:{free_port()}/n",
        DATABASE_WAIT_S="1.5",
        LLM_MODEL=str(tiny_model),
    )

    done = subprocess.run(
        python("manage.py", "serve"),
        cwd=BASE_DIR,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    waiting, refusal = done.stderr.splitlines()
    assert "Waiting up to 1.5 s for the database" in waiting
    assert refusal.startswith("CommandError: The database did not answer within 1.5 s")
    assert "hush" not in done.stderr
