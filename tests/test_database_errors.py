"""A client reads what is wrong with the database, by the errors that real databases report."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from django.db import DataError, IntegrityError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import DatabaseWrapper as PostgreSQL
from django.db.backends.sqlite3.base import DatabaseWrapper as SQLite
from django.db.utils import Error

from llmservice.http.database_errors import AWAY, DAMAGED, FULL, LACKS_TABLES, NO_FILE, READ_ONLY, detail_of
from llmservice.http.problems import problem_for


def error_of(wrapper: BaseDatabaseWrapper, run: Callable[[], object]) -> Error:
    """What Django raises when a driver does."""
    with pytest.raises(Error) as raised, wrapper.wrap_database_errors:
        run()
    return raised.value


@contextmanager
def opened(path: Path | str, *, uri: bool = False) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, uri=uri, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def sqlite_error(path: Path | str, *statements: str, uri: bool = False) -> Error:
    def run() -> None:
        with opened(path, uri=uri) as connection:
            for statement in statements:
                connection.execute(statement)

    return error_of(SQLite({}), run)


def test_sqlite_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with opened(path) as connection:
        connection.execute("CREATE TABLE a (b)")
    fill = "INSERT INTO a VALUES (zeroblob(1000000))"
    assert detail_of(sqlite_error(path, "PRAGMA max_page_count = 3", fill)) == FULL
    assert detail_of(sqlite_error(path, "SELECT * FROM missing")) == LACKS_TABLES
    assert detail_of(sqlite_error(path, "SELECT missing FROM a")) == LACKS_TABLES
    assert detail_of(sqlite_error(f"file:{path}?mode=ro", "DELETE FROM a", uri=True)) == READ_ONLY
    assert detail_of(sqlite_error(tmp_path / "no" / "file", "SELECT 1")) == NO_FILE
    assert detail_of(sqlite_error(path, "SELECT FROM FROM")) is None
    (tmp_path / "text").write_text("This is not a database. " * 100)
    assert detail_of(sqlite_error(tmp_path / "text", "SELECT * FROM a")) == DAMAGED
    with opened(path) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert detail_of(sqlite_error(path, "PRAGMA busy_timeout = 1", "BEGIN IMMEDIATE")) == AWAY


def test_postgresql_says_what_is_wrong(postgres_url: str) -> None:
    def error(statement: str, url: str = postgres_url) -> Error:
        def run() -> None:
            with psycopg.connect(url, connect_timeout=2) as connection:
                connection.execute(statement)

        return error_of(PostgreSQL({}), run)

    assert detail_of(error("SELECT * FROM missing")) == LACKS_TABLES
    assert detail_of(error("SELECT missing FROM pg_class")) == LACKS_TABLES
    assert detail_of(error("SET TRANSACTION READ ONLY; CREATE TABLE a (b int)")) == READ_ONLY
    # A disk cannot be filled here; this is how the server reports it.
    assert detail_of(error("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$")) == FULL
    assert detail_of(error("SET statement_timeout = 1; SELECT pg_sleep(5)")) == AWAY
    assert detail_of(error("SELECT 1", "postgres://postgres@127.0.0.1:1/postgres")) == AWAY


def test_a_mistake_of_the_service_is_none_of_the_database() -> None:
    for error in (IntegrityError("UNIQUE constraint failed"), DataError("out of range"), ValueError()):
        assert detail_of(error) is None
        assert problem_for(error).code.status == 500


def test_a_client_reads_it_with_503(tmp_path: Path) -> None:
    error = sqlite_error(tmp_path / "db.sqlite3", "SELECT * FROM accounts_apikey")
    problem = problem_for(error)
    assert (problem.code.status, problem.detail) == (503, LACKS_TABLES)
    assert problem.code.name == "database_unavailable"
