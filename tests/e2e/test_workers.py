"""Several workers of one service: who takes connections, and how they are replaced."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import NO_CERTIFICATES, READY_WITHIN_S, Service, StartService
from tests.models import save_tiny_model

WITHIN_S = 60


def workers(service: Service) -> list[int]:
    """The process ids of the workers, the oldest first."""
    children = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text()
    return sorted(map(int, children.split()))


def wait_until_ready(service: Service, count: int) -> None:
    """The metrics count the workers that can generate; `/ready` is answered by any."""
    service.wait_ready()
    wait_for(lambda: f"llmservice_ready {count}.0" in metrics(service))


def metrics(service: Service) -> str:
    return httpx.get(f"{service.url}/metrics", verify=NO_CERTIFICATES).text


def wait_for(condition: object, within_s: float = READY_WITHIN_S) -> None:
    assert callable(condition)
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def new_client() -> httpx.Client:
    return httpx.Client(timeout=WITHIN_S, verify=NO_CERTIFICATES)


@contextmanager
def asked_meanwhile(service: Service) -> Iterator[list[int | str]]:
    """Asks `/ready` and `/generate` again and again, on new connections and on kept ones; the statuses."""
    statuses: list[int | str] = []
    over = threading.Event()

    def ask(kept: httpx.Client | None) -> None:
        body = {"prompt": "a", "max_new_tokens": 1}
        headers = {"X-API-Key": service.key}
        while not over.wait(0.1):
            try:
                for method, path, extra in (
                    ("GET", "/ready", {}),
                    ("POST", "/generate", {"json": body, "headers": headers}),
                ):
                    url = service.url + path
                    with nullcontext(kept) if kept else new_client() as client:
                        statuses.append(client.request(method, url, **extra).status_code)  # type: ignore[arg-type]
            except httpx.TransportError as error:
                statuses.append(repr(error))

    with new_client() as kept, ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, None), pool.submit(ask, kept)]
        try:
            yield statuses
        finally:
            over.set()
            for one in asking:
                one.result()


Starting = Callable[[Path], AbstractContextManager[StartService]]


@pytest.fixture(scope="module")
def single(starting: Starting, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with one worker and a model of its own, which stops cleanly after all of these tests."""
    folder = tmp_path_factory.mktemp("single")
    with starting(folder) as start:
        service = start(LLM_MODEL=str(save_tiny_model(folder / "model")))
        wait_until_ready(service, 1)
        yield service
        assert service.stop() == 0


@pytest.fixture(scope="module")
def pair(starting: Starting, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with two workers."""
    with starting(tmp_path_factory.mktemp("pair")) as start:
        service = start(WEB_CONCURRENCY="2")
        wait_until_ready(service, 2)
        yield service
        assert service.stop() == 0


def said_since(service: Service, before: str) -> str:
    """What the log says beyond `before`."""
    return service.log.read_text().removeprefix(before)


def test_a_worker_that_loads_leaves_the_connections_to_those_that_can_generate(pair: Service) -> None:
    with asked_meanwhile(pair) as statuses:
        first, second = workers(pair)
        os.kill(second, signal.SIGTERM)
        wait_for(lambda: second not in workers(pair) and len(workers(pair)) == 2)
        wait_until_ready(pair, 2)

    assert first in workers(pair)
    assert set(statuses) == {200}


def test_a_worker_that_was_killed_no_longer_counts(single: Service) -> None:
    """Otherwise its successor would wait for it, and nobody would answer."""
    before = single.log.read_text()
    os.kill(workers(single)[0], signal.SIGKILL)
    wait_for(lambda: "was sent SIGKILL" in said_since(single, before), WITHIN_S)

    assert httpx.get(f"{single.url}/health", timeout=WITHIN_S).status_code == 200
    wait_until_ready(single, 1)


@pytest.mark.parametrize(("name", "count"), [("single", 1), ("pair", 2)])
def test_a_reload_interrupts_nobody(request: pytest.FixtureRequest, name: str, count: int) -> None:
    service: Service = request.getfixturevalue(name)
    wait_until_ready(service, count)
    old = workers(service)

    with asked_meanwhile(service) as statuses:
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: not set(old) & set(workers(service)), count * READY_WITHIN_S)
        wait_until_ready(service, count)

    assert len(workers(service)) == count
    assert set(statuses) == {200}


def test_a_reload_that_fails_leaves_the_old_worker(single: Service) -> None:
    (old,) = workers(single)
    before = single.log.read_text()
    config = Path(single.environ["LLM_MODEL"]) / "config.json"
    kept = config.rename(config.with_name("away.json"))
    single.process.send_signal(signal.SIGHUP)
    try:
        wait_for(lambda: "The reload has failed" in said_since(single, before))
    finally:
        kept.rename(config)

    assert workers(single) == [old]
    assert httpx.get(f"{single.url}/ready").status_code == 200


def test_a_second_master_process_is_refused_in_the_log(single: Service) -> None:
    (worker,) = workers(single)
    before = single.log.read_text()

    single.process.send_signal(signal.SIGUSR2)
    refused = "SIGUSR2 is not supported: send SIGHUP"
    wait_for(lambda: refused in said_since(single, before), WITHIN_S)

    assert workers(single) == [worker]
    assert "Traceback" not in said_since(single, before)
    assert httpx.get(f"{single.url}/ready").status_code == 200
