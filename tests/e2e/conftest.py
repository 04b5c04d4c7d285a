"""Starts the real service for the end-to-end tests: gunicorn, a fresh database, the quick-start model.

Where `TEST_SERVICE_URL` is set (`docker/test.sh` does it), the service of the composition that runs there is
tested instead; tests that need a service of their own are skipped.
"""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from inference.quickstart import NAME as MODEL_NAME
from llmservice.environment import BASE_DIR, DEFAULT_API_KEY, Environment
from tests.models import save_tiny_model
from tests.openai_api import TEMPLATE

SERVICE_URL = os.environ.get("TEST_SERVICE_URL")
READY_WITHIN_S = 180
# Settings that decide what the database is, or what it contains at the start.
DECIDES_THE_DATABASE = {"DATABASE_URL", "API_KEY", "API_KEY_PEPPER", "SECRET_KEY", "VAR_DIR"}
ENDED_WITHIN_S = 140
GUNICORN = ("-m", "gunicorn", "-c", "llmservice/gunicorn.conf.py")
# For a request on a connection of its own: httpx would read all of the system's certificates for each.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A running service; `environ` is what its commands (`manage`) need to see its database.

    In a composition, `process` is the one that writes its log.
    """

    url: str
    key: str
    process: subprocess.Popen[bytes]
    log: Path
    environ: Mapping[str, str]

    def manage(self, *command: str) -> str:
        """The standard output of `manage.py <command>` beside the service."""
        return manage(self.environ, *command)

    def create_key(self, purpose: str, *options: str) -> str:
        """The secret of a new key, with a name of its own: tests share a service, and the names of keys."""
        return self.manage("create_key", f"{purpose} {uuid.uuid4().hex[:8]}", *options).strip()

    def wait_ready(self) -> None:
        """Wait until the service can generate; fails where it ends instead."""
        until = time.monotonic() + READY_WITHIN_S
        while time.monotonic() < until:
            if self.process.poll() is not None:
                pytest.fail(f"The service ended with {self.process.returncode}:\n{self.log.read_text()}")
            try:
                if httpx.get(f"{self.url}/ready", verify=NO_CERTIFICATES).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        pytest.fail(f"The service is not ready after {READY_WITHIN_S} s:\n{self.log.read_text()}")

    def stop(self) -> int:
        """End the service as an operator does, with SIGTERM; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(ENDED_WITHIN_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            pytest.fail(f"SIGTERM did not end the service in {ENDED_WITHIN_S} s:\n{self.log.read_text()}")


# Makes a service that is starting; a keyword is a variable of its environment: `LLM_MAX_QUEUED="0"`.
StartService = Callable[..., Service]


def service_environ(var_dir: Path, **settings: str) -> dict[str, str]:
    """The environment of a service that keeps its things in `var_dir` and listens on a free port."""
    ours = {field.name.upper() for field in fields(Environment)} | {"DJANGO_SETTINGS_MODULE"}
    inherited = {name: value for name, value in os.environ.items() if name not in ours}
    return {**inherited, "VAR_DIR": str(var_dir), "PORT": str(free_port()), **settings}


def share_weights(var_dir: Path, folder: Path) -> None:
    """Have the service with this `VAR_DIR` keep its packed weights in `folder`."""
    (var_dir / "weights").symlink_to(folder)


def python(*arguments: str) -> list[str]:
    """The command that runs the service's Python with these arguments, here or in the composition."""
    if SERVICE_URL is None:
        return [sys.executable, *arguments]
    return ["docker-compose", "exec", "-T", "service", "python", *arguments]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def manage(environ: Mapping[str, str], *command: str) -> str:
    """The standard output of `manage.py <command>`; fails with what the command says if it fails."""
    done = subprocess.run(
        python("manage.py", *command),
        cwd=BASE_DIR,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        said = done.stderr + done.stdout
        pytest.fail(f"`manage.py {' '.join(command)}` ended with {done.returncode}:\n{said}")
    return done.stdout


@contextmanager
def running(
    environ: Mapping[str, str], log: Path, *, command: tuple[str, ...] = GUNICORN
) -> Iterator[Service]:
    """Start the server with `environ`, its output in the file `log`; it is ended at the end."""
    url = f"http://127.0.0.1:{environ['PORT']}"
    with _started(python(*command), environ, log, url) as service:
        yield service


@contextmanager
def _started(command: list[str], environ: Mapping[str, str], log: Path, url: str) -> Iterator[Service]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=BASE_DIR, env=environ, stdout=output, stderr=subprocess.STDOUT
        )
    key = environ.get("API_KEY", DEFAULT_API_KEY)
    service = Service(url=url, key=key, process=process, log=log, environ=environ)
    try:
        yield service
    finally:
        service.stop()


@pytest.fixture(scope="session")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    quickstart_model: Path,
    quickstart_weights: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Service]:
    """The service as `make run` starts it, ready, with the default key; one for all tests."""
    var_dir = tmp_path_factory.mktemp("service")
    if SERVICE_URL is not None:
        follow = ["docker-compose", "logs", "--no-color", "--follow", "service"]
        with _started(follow, os.environ, var_dir / "log", SERVICE_URL) as composed:
            composed.wait_ready()
            yield composed
        return
    environ = service_environ(var_dir, LLM_MODEL=str(quickstart_model))
    share_weights(var_dir, quickstart_weights)
    manage(environ, "serve", "--only-prepare")
    failed = request.session.testsfailed
    with running(environ, var_dir / "log") as started:
        started.wait_ready()
        yield started
    if request.session.testsfailed > failed:
        print(f"\n--- The service's log:\n{started.log.read_text()}")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that loads at once: a start takes only as long as Python and PyTorch do."""
    return save_tiny_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def migrated_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `VAR_DIR` with a migrated SQLite database, to be copied."""
    var_dir = tmp_path_factory.mktemp("migrated")
    manage(service_environ(var_dir), "migrate", "--verbosity=0", "--skip-checks")
    return var_dir


@pytest.fixture(scope="session")
def prepared_folder(tmp_path_factory: pytest.TempPathFactory, migrated_folder: Path) -> Path:
    """As `migrated_folder`, with the default key."""
    var_dir = tmp_path_factory.mktemp("prepared")
    shutil.copytree(migrated_folder, var_dir, dirs_exist_ok=True)
    manage(service_environ(var_dir), "bootstrap", "--skip-checks")
    return var_dir


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the services that serve a tiny model keep its packed weights."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="session")
def starting(
    tiny_model: Path, tiny_weights: Path, quickstart_weights: Path, prepared_folder: Path
) -> Callable[[Path], AbstractContextManager[StartService]]:
    """`start_service` with its folder, for a fixture that starts a service for several tests."""
    if SERVICE_URL is not None:
        pytest.skip("it needs a service of its own, and a running composition is tested")

    @contextmanager
    def starter(folder: Path) -> Iterator[StartService]:
        with ExitStack() as stack:
            count = 0

            def start(*, migrated: bool = True, **settings: str) -> Service:
                nonlocal count
                count += 1
                var_dir = folder / f"service-{count}"
                environ = service_environ(var_dir, **{"LLM_MODEL": str(tiny_model), **settings})
                as_prepared = migrated and not DECIDES_THE_DATABASE & settings.keys()
                if as_prepared:
                    shutil.copytree(prepared_folder, var_dir)
                else:
                    var_dir.mkdir()
                serves_tiny_model = environ["LLM_MODEL"] == str(tiny_model)
                share_weights(var_dir, tiny_weights if serves_tiny_model else quickstart_weights)
                if migrated and not as_prepared:
                    manage(environ, "serve", "--only-prepare")
                return stack.enter_context(running(environ, var_dir / "log"))

            yield start

    return starter


@pytest.fixture(scope="session")
def chatting_service(
    starting: Callable[[Path], AbstractContextManager[StartService]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Service]:
    """A service whose texts take no time, for tests that care for their form only; one for all of them.

    Its model has a chat template, and the name of the quick-start model.
    """
    folder = tmp_path_factory.mktemp("chatting")
    model = save_tiny_model(folder / MODEL_NAME, context_length=4096, chat_template=TEMPLATE)
    with starting(folder) as start:
        service = start(LLM_MODEL=str(model))
        service.wait_ready()
        yield service


@pytest.fixture
def start_service(
    tmp_path: Path, starting: Callable[[Path], AbstractContextManager[StartService]]
) -> Iterator[StartService]:
    """Starts further services, each with a database of its own, and ends them after the test.

    They serve `tiny_model`. A test whose texts have to take a while sets LLM_MODEL to the quick-start model.
    """
    with starting(tmp_path) as start:
        yield start


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f'CREATE DATABASE "{name}"')
        yield urlsplit(postgres_url)._replace(path=f"/{name}").geturl()
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
