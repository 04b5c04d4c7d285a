"""SQLite's file may be deleted or replaced while the service runs, and is looked for at each request."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.signals import request_started
from django.db import OperationalError, connection, connections
from django.test import Client

from inference import runtime
from llmservice import database_file, database_watch
from llmservice.database import configuration
from llmservice.database_file import existing
from llmservice.http import database_errors
from tests.models import tiny_engine
from tests.problems import problem


def create(path: Path, content: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE django_migrations (name)")
        database.execute("INSERT INTO django_migrations VALUES (?)", [content])
    database.close()


@pytest.fixture
def path(tmp_path: Path, django_db_blocker: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of the default connection; its name has to be quoted."""
    path = tmp_path / "a ?#b.sqlite3"
    create(path, "first")
    config = configuration("sqlite:///:memory:", connections=1, test_folder=tmp_path)
    config["NAME"] = existing(path)
    config.pop("TEST")
    with django_db_blocker.unblock():  # type: ignore[attr-defined]
        monkeypatch.setitem(
            connections.settings, "default", connections.configure_settings({"default": config})["default"]
        )
        outer = connections["default"]
        del connections["default"]
        yield path
        connection.close()
        connections["default"] = outer


def content() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM django_migrations")
        return str(cursor.fetchone()[0])


def test_a_replaced_file_is_opened_by_the_next_request(path: Path) -> None:
    assert content() == "first"
    path.unlink()
    create(path, "second")
    assert content() == "first"  # this is what SQLite does
    request_started.send(sender=None)
    assert content() == "second"
    opened = connection.connection
    request_started.send(sender=None)
    assert content() == "second"
    assert connection.connection is opened


def test_a_deleted_file_is_an_error_and_is_not_created_again(path: Path) -> None:
    assert content() == "first"
    path.unlink()
    request_started.send(sender=None)
    with pytest.raises(OperationalError) as raised:
        content()
    assert database_errors.detail_of(raised.value) == database_errors.NO_FILE
    assert not path.exists()


def test_a_transaction_keeps_its_file(path: Path) -> None:
    from django.db import transaction

    with transaction.atomic():
        path.unlink()
        database_file.close_if_replaced(connection)
        assert content() == "first"


def test_the_database_is_looked_up(path: Path) -> None:
    assert database_watch.look_up() == ""
    away = path.with_name("away")
    path.rename(away)
    assert database_watch.look_up() == database_errors.NO_FILE
    away.rename(path)
    assert database_watch.look_up() == ""
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE django_migrations")
    assert database_watch.look_up() == database_errors.LACKS_TABLES


def test_a_service_whose_database_cannot_be_used_is_not_ready(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime.install(tiny_engine())
    try:
        monkeypatch.setattr(database_watch, "_fault", database_errors.FULL)
        assert problem(client.get("/ready"), 503)["detail"] == database_errors.FULL
        monkeypatch.setattr(database_watch, "_fault", "")
        monkeypatch.setattr(database_watch, "_asked_at", 0.0)  # and no answer since
        assert problem(client.get("/ready"), 503)["detail"] == database_errors.AWAY
    finally:
        runtime.stop()
