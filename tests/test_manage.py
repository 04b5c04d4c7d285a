"""`manage.py` as a process: what a shell sees of its failures."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from llmservice.environment import BASE_DIR

pytestmark = pytest.mark.slow  # It starts processes.


def manage(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=BASE_DIR,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "llmservice.settings", "DATABASE_URL": "", **environ},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("command", [("list_keys",), ("create_key", "search"), ("axes_list_attempts",)])
def test_a_database_without_tables_is_told_in_one_sentence(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = manage(*command, VAR_DIR=str(tmp_path))

    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "run `python manage.py migrate`" in done.stderr


def test_a_database_that_cannot_be_opened_is_told_in_one_sentence(tmp_path: Path) -> None:
    done = manage("list_keys", VAR_DIR=str(tmp_path), DATABASE_URL="sqlite:////proc/no-such.sqlite3")

    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "The database cannot be used (" in done.stderr


def test_a_database_that_stays_locked_is_told_in_one_sentence(tmp_path: Path) -> None:
    """The command waits for as long as the URL says, or 20 s."""
    file = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(file, isolation_level=None)) as another:
        another.execute("PRAGMA journal_mode=WAL")
        another.execute("BEGIN IMMEDIATE")
        done = manage(
            *("create_key", "search"), VAR_DIR=str(tmp_path), DATABASE_URL=f"sqlite:///{file}?timeout=1"
        )

    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "Another process has kept the database locked for too long: try again when it is less busy.\n"
    )


def test_output_that_nobody_reads_to_its_end_is_no_error(tmp_path: Path) -> None:
    """As in `manage.py list_keys | head -1`: the reader has gone before the command writes."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "manage.py", "diffsettings"],
            cwd=BASE_DIR,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "llmservice.settings", "VAR_DIR": str(tmp_path)},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)

    assert done.stderr == ""
