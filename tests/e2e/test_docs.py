"""The commands of the documentation, run as they stand: page by page, each in one shell.

`sh` and `python` blocks run. A word after the language changes that: `example` is not run, `postgresql` runs
with a fresh database in DATABASE_URL, and `clients` is run by `make clients`.
"""

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmservice.environment import BASE_DIR
from tests.e2e.conftest import Service, manage, service_environ
from tests.markdown import PAGES, Block, blocks

URL = "http://localhost:8000"
# An error of the service ends the shell, and its answer is shown.
PRELUDE = """set -euo pipefail
curl() { command curl --silent --show-error --fail-with-body "$@"; }
llm() { .venv/bin/python -m llm "$@"; }
"""
# These pages restore backups, so they get a copy of the service's database instead of the one that it uses.
WITH_A_COPY = {"operations.md"}
# What `manage.py list_keys` prints of the key that was there before the backup.
RESTORED_KEY = re.compile(r"^\d+ +default +active", flags=re.MULTILINE)


def commands(page: Path, word: str) -> list[Block]:
    return [block for block in blocks(page) if block.language in {"sh", "python"} and block.word == word]


def run(page: Path, word: str, *, folder: Path, url: str, environ: Mapping[str, str]) -> str:
    """Run the page's blocks that have this word; returns what they print. `folder` looks like a checkout."""
    (folder / "manage.py").symlink_to(BASE_DIR / "manage.py")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "var").symlink_to(environ["VAR_DIR"])
    lines = [PRELUDE]
    for block in commands(page, word):
        lines.append(f"echo {shlex.quote(f'--- {page.name}, line {block.line}')} >&2")
        text = block.text.replace(URL, url)
        lines.append(text if block.language == "sh" else f".venv/bin/python - <<'PYTHON'\n{text}PYTHON")
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=folder,
        env={name: value for name, value in environ.items() if name not in {"PORT", "HOST"}},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{done.stderr}\n{done.stdout}"
    return done.stdout


def test_every_word_after_a_language_is_one_that_these_tests_know() -> None:
    for page in PAGES:
        for block in blocks(page):
            assert block.word in {"", "example", "postgresql", "clients"}, f"{page.name}, line {block.line}"


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page, "")], ids=lambda page: page.name)
def test_the_commands_of_a_page_work_as_they_stand(service: Service, tmp_path: Path, page: Path) -> None:
    environ = dict(service.environ)
    if page.name in WITH_A_COPY:
        var_dir = tmp_path / "var_dir"
        var_dir.mkdir()
        with sqlite3.connect(Path(service.environ["VAR_DIR"]) / "db.sqlite3") as database:
            database.execute("VACUUM INTO ?", [str(var_dir / "db.sqlite3")])
        shutil.copy(Path(service.environ["VAR_DIR"]) / "secret_key", var_dir)
        environ["VAR_DIR"] = str(var_dir)
    folder = tmp_path / "checkout"
    folder.mkdir()
    printed = run(page, "", folder=folder, url=service.url, environ=environ)
    if page == BASE_DIR / "README.md":
        assert "The capital of France is" in printed
        assert "Three colours:" in printed
    if page.name == "operations.md":
        assert RESTORED_KEY.search(printed)


@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="pg_dump is not installed")
def test_a_postgresql_database_is_backed_up_and_restored(database: str, tmp_path: Path) -> None:
    environ = service_environ(tmp_path, DATABASE_URL=database)
    manage(environ, "migrate", "--verbosity=0", "--skip-checks")
    manage(environ, "bootstrap", "--skip-checks")
    folder = tmp_path / "checkout"
    folder.mkdir()
    page = BASE_DIR / "docs" / "operations.md"
    printed = run(page, "postgresql", folder=folder, url=URL, environ=environ | {"PATH": os.environ["PATH"]})
    assert RESTORED_KEY.search(printed)
