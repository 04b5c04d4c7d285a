"""Two first starts of the service at once, as by `make run` on two hosts that share a fresh database.

It needs a PostgreSQL server whose user may create databases.
"""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from benchmarks.http.servers import free_port
from benchmarks.trial.place import Failed
from llmservice.environment import BASE_DIR, Environment

SERVER = "postgres://postgres@127.0.0.1:5432/postgres"
# What `make run` becomes once the packages and the model are there.
START = ("manage.py", "setup", "--serve")
READY_WITHIN_S = 600
ENDED_WITHIN_S = 140


@dataclass(frozen=True, kw_only=True)
class Started:
    """A service that starts; its output is in the file `log`."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def ready_after(self, began: float) -> float:
        """Wait until it can generate; seconds since `began` on the monotonic clock."""
        while time.monotonic() < began + READY_WITHIN_S and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/ready", timeout=5):  # noqa: S310
                    return time.monotonic() - began
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise Failed(f"a service did not get ready:\n{self.log.read_text()[-2000:]}")


def two_starts_on_one_database(*, server: str, model: Path, folder: Path) -> str:
    """Start two services at once on a fresh database of `server`; what was seen.

    Raises:
        Failed: one did not get ready or end well, or not exactly one key and one account were made.
    """
    with ExitStack() as stack:
        database = stack.enter_context(_fresh_database(server))
        began = time.monotonic()
        started = [stack.enter_context(_start(database, model, folder / name)) for name in ("a", "b")]
        ready = [service.ready_after(began) for service in started]
        with psycopg.connect(database) as connection:
            made = [
                connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
                for table in ("accounts_apikey", "auth_user")
            ]
        if made != [(1,), (1,)]:
            raise Failed(f"keys and accounts that were made: {made}")
        for service in started:
            service.process.send_signal(signal.SIGTERM)
        statuses = [service.process.wait(ENDED_WITHIN_S) for service in started]
        if statuses != [0, 0]:
            raise Failed(f"exit statuses: {statuses}")
    return f"both ready, after {ready[0]:.0f} and {ready[1]:.0f} s, with one key and one account"


@contextmanager
def _fresh_database(server: str) -> Iterator[str]:
    name = f"llmservice_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield urlsplit(server)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def _start(database: str, model: Path, var_dir: Path) -> Iterator[Started]:
    var_dir.mkdir()
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if name not in Environment.variables()}
    environ = {
        **inherited,
        "DJANGO_SETTINGS_MODULE": "llmservice.settings",
        "DATABASE_URL": database,
        "SECRET_KEY": "the same for both" * 4,
        "VAR_DIR": str(var_dir),
        "PORT": str(port),
        "LLM_MODEL": str(model),
        "LLM_THREADS": "1",
    }
    log = var_dir / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *START], cwd=BASE_DIR, env=environ, stdout=output, stderr=output
        )
    try:
        yield Started(url=f"http://127.0.0.1:{port}", process=process, log=log)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
