"""The image for a service in front of another engine: its size, what it has not, and that it serves.

`docker/test.sh` runs this test, beside those of the other image; without it, it is skipped.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from llmservice.environment import BASE_DIR, DEFAULT_API_KEY
from tests.e2e.conftest import SERVICE_URL, free_port
from tests.e2e.test_container import SLIM_BASE_SIZE, answers, command, compose, inspect, wait_until
from tests.scripted_engine import chunk, scripted_engine, stream

pytestmark = pytest.mark.skipif(SERVICE_URL is None, reason="no container engine runs: see docker/test.sh")

IMAGE = "llmservice-front"
SIZE_LIMIT = 250_000_000


@pytest.fixture(scope="module")
def image() -> str:
    files = f"{os.environ['COMPOSE_FILE']}:{BASE_DIR / 'docker' / 'upstream.yml'}"
    compose("build", "service", env={**os.environ, "COMPOSE_FILE": files})
    return IMAGE


@contextmanager
def started(image: str, *options: str) -> Iterator[str]:
    """A container with these options, on the host's network."""
    container = command("docker", "run", "--detach", "--network", "host", "--read-only", *options, image)
    try:
        yield container
    finally:
        print(command("docker", "logs", container, stderr=subprocess.STDOUT))
        command("docker", "rm", "--force", "--volumes", container)


def test_it_is_small(image: str) -> None:
    base = inspect("image", "python:3.11.14-slim-bookworm", ".Size")
    assert inspect("image", image, ".Size") - max(0, base - SLIM_BASE_SIZE) < SIZE_LIMIT


def test_a_start_compiles_no_module_of_the_project(image: str) -> None:
    # The sources have other times than when they were compiled: byte code must not be checked against them.
    checked = (
        "from pathlib import Path; compiled = [*Path('/app').rglob('*.pyc')];"
        "print(len(compiled) > 100, [path for path in compiled if path.read_bytes()[4] != 1])"
    )
    assert command("docker", "run", "--rm", image, "python", "-c", checked) == "True []"


def test_it_serves_what_the_engine_generates_and_lists_what_it_is_made_of(image: str) -> None:
    port = free_port()
    with scripted_engine() as engine:
        engine.answers["/v1/completions"] = stream(
            chunk("Hi", usage=(5, 1), token_ids=[1]), chunk(finish_reason="stop", usage=(5, 1))
        )
        settings = {"HOST": "127.0.0.1", "PORT": str(port), "LLM_UPSTREAM_URL": engine.url}
        options = [f"--env={name}={value}" for name, value in settings.items()]
        with started(image, "--tmpfs=/tmp", *options) as container:
            wait_until("ready", lambda: answers(f"http://127.0.0.1:{port}/ready"))
            answer = httpx.post(
                f"http://127.0.0.1:{port}/generate",
                headers={"X-API-Key": DEFAULT_API_KEY},
                json={"prompt": "Hello", "top_k": 0, "max_new_tokens": 5},
            )
            assert answer.json()["completion"] == "Hi"
            materials = command("docker", "exec", container, "cat", "/app/sbom.json")
            assert '"name": "gunicorn"' in materials
            assert '"name": "torch"' not in materials
