"""How the service connects to its database, from one URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dj_database_url
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connection
from django.db.backends.base.base import BaseDatabaseWrapper

from llmservice.http import database_errors

# A request that gets no connection within this time is answered with 503.
WAIT_S = 5
# How long a command waits for SQLite's lock; `?timeout=` in the URL changes it. A busy service holds it for
# milliseconds, a migration for seconds.
COMMAND_WAIT_S = 20
# How long an unused connection stays open.
KEPT_S = 60


def configuration(url: str, *, connections: int, test_folder: Path) -> dict[str, Any]:
    """Django's settings for the database at `url`.

    Args:
        connections: how many a process may open to PostgreSQL.
        test_folder: the folder of the SQLite file that the tests use.

    Raises:
        ImproperlyConfigured: the URL is invalid. The message does not contain it, for it may hold a password.
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
                "timeout": COMMAND_WAIT_S,
                **given,
                # A transaction takes the write lock when it begins, and waits for it. If two transactions
                # read first, one of them would fail at once with "database is locked".
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
            }
            # A file, so that threads and processes share it as in production.
            config["TEST"] = {"NAME": str(test_folder / "test.sqlite3")}
        case "django.db.backends.postgresql":
            # Every waiting request has a thread. With a connection for each of them the server would run
            # out of connections, so the threads share a pool, which checks a connection before its use.
            config["CONN_MAX_AGE"] = 0
            config["OPTIONS"] = {
                "connect_timeout": WAIT_S,
                # A host that has vanished does not close its connections.
                "tcp_user_timeout": 1000 * WAIT_S,
                "keepalives_idle": WAIT_S,
                "keepalives_interval": 1,
                "keepalives_count": WAIT_S,
                # Every request runs the same few statements, so the server keeps their plans.
                "server_side_binding": True,
                "prepare_threshold": 5,
                **given,
                "pool": {
                    "min_size": 0,
                    "max_size": connections,
                    "timeout": WAIT_S,
                    "max_idle": KEPT_S,
                    # Then the pool gives up, and the next request tries again immediately.
                    "reconnect_timeout": WAIT_S,
                },
            }
        case _:
            raise ImproperlyConfigured(
                "DATABASE_URL must be sqlite:///<file> or postgres://<user>:<password>@<host>:<port>/<name>."
            )
    return config


def first_line(error: Error) -> str:
    """The database's reason for an error, without its further explanations."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def explain(error: Error) -> str:
    """One sentence for the operator about an error of the database."""
    if database_errors.is_busy(error):
        return "Another process has kept the database locked for too long: try again when it is less busy."
    if database_errors.detail_of(error) is database_errors.LACKS_TABLES:
        return (
            f"The database lacks tables or columns of this version ({first_line(error)}): run "
            "`python manage.py migrate`."
        )
    return (
        f"The database cannot be used ({first_line(error)}): check that it is running and can be written to, "
        "and that DATABASE_URL is correct."
    )


@contextmanager
def separate_connection(connection: BaseDatabaseWrapper) -> Iterator[BaseDatabaseWrapper]:
    """A further connection to the same database, outside of the pool; it is closed at the end."""
    own = connection.copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    try:
        yield own
    finally:
        own.close()


def check_connection(connection: BaseDatabaseWrapper) -> None:
    """Connect to the database once.

    Raises:
        Error: what the database itself reports. A pool would only report that it waited in vain.
    """
    with separate_connection(connection) as own:
        own.ensure_connection()


def return_to_pool() -> None:
    """Return this thread's connection to PostgreSQL's pool; the next query takes another one."""
    if connection.settings_dict["OPTIONS"].get("pool") and not connection.in_atomic_block:
        connection.close()
