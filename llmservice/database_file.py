"""SQLite's file while the service runs: by itself, a connection goes on with one that has been deleted."""

from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from django.core.signals import request_started
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

_PREFIX, _MODE = "file:", "?mode=rw"


def existing(name: object) -> str:
    """The name with which SQLite opens the file only if it exists; otherwise it would create an empty one."""
    return f"{_PREFIX}{quote(str(name))}{_MODE}"


def close_if_replaced(connection: BaseDatabaseWrapper) -> None:
    """Close the connection if its file is not at its path any more, so that the next statement opens that."""
    opened = getattr(connection, "file_identity", None)
    if opened is None or connection.connection is None or connection.in_atomic_block:
        return
    if _identity(connection) != opened:
        connection.close()


def connect_signals() -> None:
    """Look for the file at the beginning of each request."""
    connection_created.connect(_remember)
    request_started.connect(_check)


def _remember(connection: BaseDatabaseWrapper, **_: Any) -> None:
    if connection.vendor == "sqlite":
        connection.file_identity = _identity(connection)  # type: ignore[attr-defined]


def _check(**_: Any) -> None:
    close_if_replaced(connection)


def _identity(connection: BaseDatabaseWrapper) -> tuple[int, int] | None:
    name = str(connection.settings_dict["NAME"])
    if name.startswith(_PREFIX) and name.endswith(_MODE):
        name = unquote(name.removeprefix(_PREFIX).removesuffix(_MODE))
    try:
        status = Path(name).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
