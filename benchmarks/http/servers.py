"""Starts the services that the load generator calls: this project's gunicorn and the thread pool."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from llmservice.environment import BASE_DIR, DEFAULT_API_KEY, Environment

GUNICORN = ("-m", "gunicorn", "-c", "llmservice/gunicorn.conf.py")
SERVE = ("manage.py", "serve")
"""The container's command: checks the database, then becomes gunicorn."""

_READY_WITHIN_S = 300
# What a worker says once it can generate, with its compute path.
_READY = re.compile(r" is ready after [\d.]+ s, (.+?)\. CPU threads: ")
_ENDED_WITHIN_S = 60


@dataclass(frozen=True, kw_only=True)
class Server:
    """A service that was started at `began`, in seconds of the monotonic clock."""

    name: str
    url: str
    key: str
    process: subprocess.Popen[bytes]
    log: Path
    began: float

    def wait_ready(self, *, workers: int = 1) -> float:
        """Wait until it can generate; returns the seconds since the start of its process.

        Args:
            workers: wait until so many can.

        Raises:
            RuntimeError: it ended or took too long; the message holds the end of its log.
        """
        while time.monotonic() < self.began + _READY_WITHIN_S and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/ready", timeout=5) as answer:  # noqa: S310
                    if answer.status == 200 and (
                        workers == 1 or len(_READY.findall(self.log.read_text())) == workers
                    ):
                        return time.monotonic() - self.began
            except (urllib.error.URLError, OSError):
                pass
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not become ready:\n{self.log.read_text()[-2000:]}")

    def compute_path(self) -> str:
        """How it computes on this machine, as its log says; empty if the log does not say it."""
        found = _READY.search(self.log.read_text())
        return found[1] if found else ""

    def ask(self, clients: int, seconds: float, *options: str) -> dict[str, float]:
        """Run `benchmarks.http.load` with these clients, seconds and options; returns its figures."""
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.http.load", self.url, str(clients), str(seconds), *options],
            env=os.environ | {"API_KEY": self.key},
            stdout=subprocess.PIPE,
            check=True,
        )
        measured: dict[str, float] = json.loads(answer.stdout)
        return measured


@contextmanager
def llmservice(
    folder: Path,
    var_dir: Path,
    *,
    threads: int,
    command: Sequence[str] = GUNICORN,
    python: str = sys.executable,
    **settings: str,
) -> Iterator[Server]:
    """The project's real service on a fresh database, without the environment's settings.

    Args:
        command: Python's arguments that start it once the database exists.
        python: the interpreter, which has the service's packages.
    """
    environ = _with_database(var_dir, LLM_MODEL=str(folder), LLM_THREADS=str(threads), **settings)
    command_line = [python, *command]
    with _running("llmservice", command_line, environ, var_dir / "llmservice.log") as server:
        yield server


@contextmanager
def llmservice_in_container(
    image: str, folder: Path, var_dir: Path, *, threads: int, **settings: str
) -> Iterator[Server]:
    """The same in a container of this image with the limits of docker-compose.yml and `threads` CPUs."""
    environ = _with_database(var_dir, LLM_MODEL=str(folder), **settings)
    inside = {"LLM_MODEL": "/model", "LLM_THREADS": str(threads), **settings}
    command_line = [
        *_docker_run(var_dir, **inside),
        *("--cpus", str(threads), "--publish", f"127.0.0.1:{environ['PORT']}:8000"),
        *("--volume", f"{folder.resolve()}:/model:ro"),
        image,
    ]
    log = var_dir / "container.log"
    with _running("llmservice in a container", command_line, environ, log) as server:
        yield server


@contextmanager
def front_in_container(image: str, engine_url: str, data: Path) -> Iterator[Server]:
    """A container of this image in front of an engine of this machine, on its network.

    Args:
        data: its folder for data; without a database there, the start makes one.
    """
    port = str(free_port())
    settings = {"HOST": "127.0.0.1", "PORT": port, "LLM_UPSTREAM_URL": engine_url}
    command_line = [*_docker_run(data, **settings), "--network", "host", image]
    log = data / "container.log"
    with _running("the front", command_line, os.environ | {"PORT": port}, log) as server:
        yield server


def _docker_run(data: Path, **settings: str) -> list[str]:
    """The beginning of a command that starts a container with these settings, hardened as by Compose."""
    return [
        *("docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),  # noqa: S108
        *("--security-opt", "no-new-privileges", "--user", f"{os.getuid()}:{os.getgid()}"),
        *("--volume", f"{data.resolve()}:/data"),
        *(f"--env={name}={value}" for name, value in settings.items()),
    ]


def _with_database(var_dir: Path, **settings: str) -> dict[str, str]:
    """The environment of a service whose database is created in `var_dir`."""
    ours = {field.name.upper() for field in fields(Environment)} | {"DJANGO_SETTINGS_MODULE"}
    environ = {name: value for name, value in os.environ.items() if name not in ours} | {
        "VAR_DIR": str(var_dir),
        "PORT": str(free_port()),
        **settings,
    }
    prepare = [sys.executable, "manage.py", "serve", "--only-prepare"]
    done = subprocess.run(prepare, cwd=BASE_DIR, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The database could not be created:\n{done.stderr}")
    return environ


@contextmanager
def thread_pool(folder: Path, var_dir: Path, *, threads: int, workers: int) -> Iterator[Server]:
    """A service of the usual kind: `model.generate` in a pool of `workers` threads."""
    environ = os.environ | {"PORT": str(free_port()), "API_KEY": DEFAULT_API_KEY}
    command_line = [
        sys.executable, "-m", "benchmarks.http.thread_pool_service", str(folder), str(threads), str(workers)
    ]  # fmt: skip
    with _running("thread pool", command_line, environ, var_dir / "thread_pool.log") as server:
        yield server


def served_model(url: str, key: str) -> str:
    """What the service at this address calls its model."""
    request = urllib.request.Request(f"{url}/v1/models", headers={"Authorization": f"Bearer {key}"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        [model] = json.load(answer)["data"]
    return str(model["id"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def _running(name: str, command_line: list[str], environ: Mapping[str, str], log: Path) -> Iterator[Server]:
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command_line, cwd=BASE_DIR, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield Server(
            name=name,
            url=f"http://127.0.0.1:{environ['PORT']}",
            key=DEFAULT_API_KEY,
            process=process,
            log=log,
            began=began,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
