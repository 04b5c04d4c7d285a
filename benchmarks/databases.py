"""Empty databases with the service's tables, for benchmarks and tests."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from llmservice.environment import BASE_DIR


@contextmanager
def sqlite(folder: Path) -> Iterator[dict[str, str]]:
    """A file in the folder; yields the environment of a process that uses it."""
    yield _migrated(f"sqlite:///{folder / 'db.sqlite3'}", folder)


@contextmanager
def postgresql(server: str, folder: Path) -> Iterator[dict[str, str]]:
    """A new database of the server, dropped at the end. The user in the URL must be allowed to create one."""
    name = f"llmservice_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        try:
            yield _migrated(urlunsplit(urlsplit(server)._replace(path=f"/{name}")), folder)
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _migrated(url: str, folder: Path) -> dict[str, str]:
    env = {
        **os.environ,
        "DATABASE_URL": url,
        "VAR_DIR": str(folder),
        "DJANGO_SETTINGS_MODULE": "llmservice.settings",
    }
    migrate = [sys.executable, "manage.py", "migrate", "--verbosity=0", "--skip-checks"]
    subprocess.run(migrate, cwd=BASE_DIR, env=env, check=True)
    return env
