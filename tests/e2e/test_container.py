"""The image and its composition: health, size, stop and restart, replicas, rebuilds, development.

`docker/test.sh` builds and starts them; without it, these tests are skipped.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.container import main as benchmark_container
from llmservice.environment import BASE_DIR
from tests.e2e.conftest import READY_WITHIN_S, SERVICE_URL, Service, free_port
from tests.models import save_tiny_model
from tests.working_tree import copy_working_tree

pytestmark = pytest.mark.skipif(SERVICE_URL is None, reason="no composition runs: docker/test.sh starts one")

SIZE_LIMIT = 900_000_000
# The image may have been built on a larger stand-in for the real base, whose size this is.
SLIM_BASE_SIZE = 130_000_000
LONG = 200


def command(*arguments: str, **options: Any) -> str:
    done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, **options)
    return str(done.stdout).strip()


def compose(*arguments: str, **options: Any) -> str:
    return command("docker-compose", *arguments, **options)


def inspect(kind: str, name: str, field: str) -> Any:
    """A field of an image or container, as `docker inspect` gives it."""
    return json.loads(command("docker", kind, "inspect", "--format", f"{{{{json {field}}}}}", name))


def wait_until(what: str, holds: Callable[[], bool], within_s: float = READY_WITHIN_S) -> None:
    until = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > until:
            pytest.fail(f"After {within_s} s still not: {what}")
        time.sleep(0.2)


def answers(url: str, message: str = "") -> bool:
    """Whether this address answers 200, with `message` in the body."""
    try:
        response = httpx.get(url)
    except httpx.TransportError:
        return False
    return response.status_code == 200 and message in response.text


def healthy(container: str) -> bool:
    return bool(inspect("container", container, ".State.Health.Status") == "healthy")


def generate(url: str, key: str, **body: Any) -> httpx.Response:
    return httpx.post(
        f"{url}/generate", headers={"X-API-Key": key}, json={"prompt": "Once", **body}, timeout=150
    )


def today(url: str, key: str) -> Any:
    """What the key used today, as it is told itself."""
    return httpx.get(f"{url}/keys/me", headers={"X-API-Key": key}).json()["today"]


def loaded_kernels(environ: Mapping[str, str] = os.environ) -> str:
    """What the service's Python says about the native kernels; "None" where it goes without."""
    ask = "from inference.engine.native import kernels; print(kernels.load())"
    return compose("exec", "-T", "service", "python", "-c", ask, env=environ)


def test_both_containers_are_healthy() -> None:
    containers = compose("ps", "--quiet").split()
    assert len(containers) == 2
    for container in containers:
        wait_until(f"{container} is healthy", partial(healthy, container))


def test_the_image_is_small() -> None:
    base = next(
        line.split()[1]
        for line in (BASE_DIR / "Dockerfile").read_text().splitlines()
        if line.startswith("FROM ")
    )
    above = inspect("image", "llmservice", ".Size") - inspect("image", base, ".Size")
    assert above + SLIM_BASE_SIZE < SIZE_LIMIT


def test_the_native_kernels_compute() -> None:
    assert "Kernels" in loaded_kernels()


def test_what_runs_at_a_stop_is_answered_and_what_is_stored_is_there_after_the_next_start(
    service: Service,
) -> None:
    key = service.create_key("kept", "--tokens-per-day", "100000")
    requests = 8
    (container,) = compose("ps", "--quiet", "service").split()

    with ThreadPoolExecutor(requests) as pool:
        running = [
            pool.submit(generate, service.url, key, max_new_tokens=LONG, seed=i) for i in range(requests)
        ]
        wait_until(
            "all requests are admitted",
            lambda: today(service.url, key)["reserved_tokens"] > requests * LONG,
        )
        compose("stop")
        responses = [future.result() for future in running]

    assert [response.status_code for response in responses] == [200] * requests
    assert inspect("container", container, ".State.ExitCode") == 0

    compose("down")
    compose("up", "--detach")
    wait_until("the service is ready", lambda: answers(f"{service.url}/ready"))
    used = today(service.url, key)
    assert used["requests"]["finished"] == requests
    assert used["completion_tokens"] == sum(
        response.json()["usage"]["completion_tokens"] for response in responses
    )
    assert generate(service.url, key, max_new_tokens=1).status_code == 200


@pytest.fixture
def replica() -> Iterator[str]:
    """The address of a second container of the service, on the same database."""
    port = free_port()
    container = compose("run", "--detach", "--no-deps", "--publish", f"127.0.0.1:{port}:8000", "service")
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until("the replica is ready", lambda: answers(f"{url}/ready"))
        yield url
    finally:
        command("docker", "rm", "--force", container)


def test_a_second_replica_shares_keys_and_usage(service: Service, replica: str) -> None:
    wait_until("the service is ready", lambda: answers(f"{service.url}/ready"))
    key = service.create_key("shared", "--tokens-per-day", "100000")
    urls = [service.url, replica] * 4

    with ThreadPoolExecutor(len(urls)) as pool:
        responses = list(pool.map(lambda url: generate(url, key, max_new_tokens=20, seed=1), urls))

    assert [response.status_code for response in responses] == [200] * len(urls)
    assert len({response.json()["generated_text"] for response in responses}) == 1
    for url in (service.url, replica):
        assert today(url, key)["requests"]["finished"] == len(urls)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the working tree that may be changed."""
    return copy_working_tree(tmp_path / "copy")


def of_copy(copy: Path, *further: str) -> Mapping[str, str]:
    """The environment in which docker-compose reads the files of the copy, with some further ones."""
    ours, *others = os.environ["COMPOSE_FILE"].split(":")
    files = [ours, *(str(BASE_DIR / name) for name in further), *others]
    return os.environ | {"COMPOSE_FILE": ":".join(files).replace(str(BASE_DIR), str(copy))}


def change_health(copy: Path) -> None:
    source = copy / "inference" / "api" / "health.py"
    source.write_text(source.read_text().replace("Service is running", "Service was changed"))


def test_a_change_of_the_code_rebuilds_nothing_but_the_project(copy: Path) -> None:
    image = inspect("image", "llmservice", ".Id")
    change_health(copy)
    compose("build", "service", env=of_copy(copy))
    changed = inspect("image", "llmservice", ".Id")
    command("docker", "tag", image, "llmservice")

    before, after = (inspect("image", name, ".RootFS.Layers") for name in (image, changed))
    command("docker", "image", "rm", changed)
    *same, project = before
    assert after[:-1] == same
    assert after[-1] != project


@dataclass(frozen=True, kw_only=True)
class Development:
    """The composition for development, with the code of the copy; `environ` is docker-compose's."""

    url: str
    environ: Mapping[str, str]


@pytest.fixture
def development(copy: Path) -> Iterator[Development]:
    port = free_port()
    environ = {
        **of_copy(copy, "docker-compose.dev.yml"),
        "COMPOSE_PROJECT_NAME": os.environ["DEVELOPMENT_PROJECT"],
        "PORT": str(port),
        "DATABASE_PORT": str(free_port()),
        "LLM_QUANTIZATION": "int8",
    }
    url = f"http://127.0.0.1:{port}"
    try:
        compose("up", "--build", "--detach", env=environ)
        wait_until("the composition for development is ready", lambda: answers(f"{url}/ready"))
        yield Development(url=url, environ=environ)
    finally:
        print(compose("logs", "--no-color", "service", env=environ))
        compose("down", "--volumes", "--timeout", "10", env=environ)


def test_for_development_a_change_of_the_code_is_served_without_a_rebuild(
    copy: Path, development: Development, service: Service
) -> None:
    url = development.url
    assert "Kernels" in loaded_kernels(development.environ)
    assert generate(url, service.key, max_new_tokens=2).status_code == 200

    change_health(copy)

    wait_until("the change is served", lambda: answers(f"{url}/health", "Service was changed"))
    wait_until("the service is ready again", lambda: answers(f"{url}/ready"))
    assert generate(url, service.key, max_new_tokens=2).status_code == 200


def test_the_benchmark_of_the_container_runs_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "container.json"
    options = [
        "--precision",
        "float32",
        "--clients",
        "2",
        "--seconds",
        "1",
        "--rounds",
        "1",
        "--threads",
        "1",
    ]
    benchmark_container(["--model", str(save_tiny_model(tmp_path / "tiny")), "--out", str(out), *options])

    for samples in json.loads(out.read_text())["services"].values():
        (measured,) = samples
        assert measured["errors"] == 0
        assert measured["ready_s"] > 0
        assert measured["health_s_p99"] > 0
