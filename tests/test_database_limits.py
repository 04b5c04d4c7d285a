"""No request waits long for a database that hangs, and no worker creates an empty SQLite file."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from benchmarks.trial.wire import Wire
from llmservice import database_limits
from llmservice.database import configuration
from llmservice.database_limits import LimitedConnection


@pytest.fixture
def wire(postgres_url: str) -> Iterator[Wire]:
    wire = Wire(postgres_url)
    yield wire
    wire.cut()


def connect(url: str) -> LimitedConnection:
    return LimitedConnection.connect(url, autocommit=True)


def setting(connection: LimitedConnection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    return str(row[0]) if row else ""


def test_the_server_ends_a_long_statement_and_an_abandoned_transaction(postgres_url: str) -> None:
    with connect(postgres_url) as connection:
        assert setting(connection, "statement_timeout") == "5s"
        assert setting(connection, "idle_in_transaction_session_timeout") == "30s"


def test_limits_of_the_operator_stay(postgres_url: str) -> None:
    with connect(f"{postgres_url}?options=-c%20statement_timeout%3D60s") as connection:
        assert setting(connection, "statement_timeout") == "1min"


def test_a_statement_ends_when_the_server_says_nothing(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_limits, "SILENCE_S", 0.3)
    connection = connect(wire.url)
    wire.silence()
    with pytest.raises(psycopg.OperationalError, match="has not answered"):
        connection.execute("SELECT 1")
    # The answer of a statement that was given up is never taken for another's.
    wire.resume()
    assert connection.closed
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 2")


def test_an_answer_that_takes_a_while_is_waited_for(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(postgres_url) as connection:
        row = connection.execute("SELECT pg_sleep(0.5), 7").fetchone()
        assert row is not None
        assert row[1] == 7
        monkeypatch.setattr(database_limits, "SILENCE_S", 0.0)
        rows = connection.execute("SELECT repeat('x', 1000) FROM generate_series(1, 3000)").fetchall()
        assert len(rows) == 3000


def test_a_worker_uses_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def applied(url: str) -> dict[str, Any]:
        config = configuration(url, connections=1, test_folder=tmp_path)
        monkeypatch.setitem(connections.settings, "default", config)
        database_limits.apply()
        return config

    assert applied("postgres://u@h/n")["OPTIONS"]["pool"]["connection_class"] is LimitedConnection
    sqlite = applied(f"sqlite:///{tmp_path}/a b.sqlite3")
    assert sqlite["OPTIONS"]["timeout"] == 5
    assert sqlite["NAME"].endswith("a%20b.sqlite3?mode=rw")


def test_time_is_counted_for_each_statement(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_limits, "SILENCE_S", 0.5)
    with connect(postgres_url) as connection:
        for _ in range(3):
            connection.execute("SELECT pg_sleep(0.2)")
            time.sleep(0.2)
