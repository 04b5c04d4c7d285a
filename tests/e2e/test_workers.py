"""Several workers of one service: who takes connections, and how they are replaced."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import READY_WITHIN_S, Service, StartService
from tests.models import save_tiny_model

WITHIN_S = 60


def workers(service: Service) -> list[int]:
    """The process ids of the workers, the oldest first."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text()
    return sorted(map(int, children.split()))


def wait_until_ready(service: Service, count: int) -> None:
    """The metrics count the workers that can generate; `/ready` is answered by any."""
    service.wait_ready()
    wait_for(lambda: f"llmservice_ready {count}.0" in httpx.get(f"{service.url}/metrics").text)


def wait_for(condition: object, within_s: float = READY_WITHIN_S) -> None:
    assert callable(condition)
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


@contextmanager
def asked_meanwhile(service: Service) -> Iterator[list[int | str]]:
    """Asks `/ready` and `/generate` all the time, on new connections and on kept ones; the statuses."""
    statuses: list[int | str] = []
    over = threading.Event()

    def ask(client: httpx.Client | None) -> None:
        body = {"prompt": "a", "max_new_tokens": 1}
        headers = {"X-API-Key": service.key}
        while not over.wait(0.02):
            try:
                for method, path, extra in (
                    ("GET", "/ready", {}),
                    ("POST", "/generate", {"json": body, "headers": headers}),
                ):
                    request = client.request if client else httpx.request
                    statuses.append(
                        request(method, service.url + path, timeout=WITHIN_S, **extra).status_code  # type: ignore[arg-type]
                    )
            except httpx.TransportError as error:
                statuses.append(repr(error))

    with httpx.Client() as kept, ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, None), pool.submit(ask, kept)]
        try:
            yield statuses
        finally:
            over.set()
            for one in asking:
                one.result()


def test_a_worker_that_loads_leaves_the_connections_to_those_that_can_generate(
    start_service: StartService,
) -> None:
    service = start_service(WEB_CONCURRENCY="2")
    wait_until_ready(service, 2)

    with asked_meanwhile(service) as statuses:
        first, second = workers(service)
        os.kill(second, signal.SIGTERM)
        wait_for(lambda: second not in workers(service) and len(workers(service)) == 2)
        wait_until_ready(service, 2)

    assert first in workers(service)
    assert set(statuses) == {200}


def test_a_worker_that_was_killed_no_longer_counts(start_service: StartService) -> None:
    """Otherwise its successor would wait for it, and nobody would answer."""
    service = start_service()
    service.wait_ready()

    os.kill(workers(service)[0], signal.SIGKILL)
    wait_for(lambda: "was sent SIGKILL" in service.log.read_text(), WITHIN_S)

    assert httpx.get(f"{service.url}/health", timeout=WITHIN_S).status_code == 200
    service.wait_ready()


@pytest.mark.parametrize("count", [1, 2])
def test_a_reload_interrupts_nobody(start_service: StartService, count: int) -> None:
    service = start_service(WEB_CONCURRENCY=str(count))
    wait_until_ready(service, count)
    old = workers(service)

    with asked_meanwhile(service) as statuses:
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: not set(old) & set(workers(service)), count * READY_WITHIN_S)
        wait_until_ready(service, count)

    assert len(workers(service)) == count
    assert set(statuses) == {200}
    assert service.stop() == 0


def test_a_reload_that_fails_leaves_the_old_worker(start_service: StartService, tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    service = start_service(LLM_MODEL=str(model))
    service.wait_ready()
    (old,) = workers(service)

    (model / "config.json").unlink()
    service.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "The reload has failed" in service.log.read_text())

    assert workers(service) == [old]
    assert httpx.get(f"{service.url}/ready").status_code == 200
    assert service.stop() == 0


def test_a_second_master_process_is_refused_in_the_log(start_service: StartService) -> None:
    service = start_service()
    service.wait_ready()
    (worker,) = workers(service)

    service.process.send_signal(signal.SIGUSR2)
    wait_for(lambda: "SIGUSR2 is not supported: send SIGHUP" in service.log.read_text(), WITHIN_S)

    assert workers(service) == [worker]
    assert "Traceback" not in service.log.read_text()
    assert httpx.get(f"{service.url}/ready").status_code == 200
