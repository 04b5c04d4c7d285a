"""How the service connects to its database, from one URL."""

from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

# A request that finds no connection within this time is answered 503.
WAIT_S = 5
# As long as a connection that nobody uses is kept.
KEPT_S = 60


def configuration(url: str, *, connections: int, test_folder: Path) -> dict[str, Any]:
    """Django's settings for the database at `url`.

    Args:
        connections: that a process may have open to PostgreSQL.
        test_folder: where the tests' SQLite file is.

    Raises:
        ImproperlyConfigured: the URL is none; without its text, which may hold a password.
    """
    try:
        config: dict[str, Any] = {**dj_database_url.parse(url, conn_health_checks=True)}
    except ValueError:
        config = {"ENGINE": ""}
    given = config.get("OPTIONS", {})
    match config["ENGINE"]:
        case "django.db.backends.sqlite3":
            config["CONN_MAX_AGE"] = KEPT_S
            config["OPTIONS"] = {
                **given,
                # A transaction takes its write lock at its start and waits for it; taken later, two that
                # both have read would fail at once with "database is locked".
                "transaction_mode": "IMMEDIATE",
                "timeout": 20,
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            }
            # A file, as in production: threads and processes share it as they do there.
            config["TEST"] = {"NAME": str(test_folder / "test.sqlite3")}
        case "django.db.backends.postgresql":
            # A thread for each waiting request, each with a connection of its own, would be more than the
            # server has: they share a pool, which keeps its connections and checks them before use.
            config["CONN_MAX_AGE"] = 0
            config["OPTIONS"] = {
                "connect_timeout": WAIT_S,
                # Every request runs the same few statements: the server keeps how.
                "server_side_binding": True,
                "prepare_threshold": 5,
                **given,
                "pool": {
                    "min_size": 0,
                    "max_size": connections,
                    "timeout": WAIT_S,
                    "max_idle": KEPT_S,
                    # After a longer one, the next request tries at once instead of at the end of a wait.
                    "reconnect_timeout": WAIT_S,
                },
            }
        case _:
            raise ImproperlyConfigured(
                "DATABASE_URL must be sqlite:///<file> or postgres://<user>:<password>@<host>:<port>/<name>."
            )
    return config


def why_not(error: Error) -> str:
    """What an operator should know of the database's refusal, in one sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return (
        f"The database cannot be used ({lines[0]}): see that it runs, has room, and what DATABASE_URL says."
    )


def connect_once(connection: BaseDatabaseWrapper) -> None:
    """Look whether the database lets the service in.

    Raises what the database itself says, where a pool would only tell of its own wait.
    """
    other = connection.copy()
    other.settings_dict["OPTIONS"].pop("pool", None)
    try:
        other.ensure_connection()
    finally:
        other.close()
