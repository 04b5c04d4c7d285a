"""How a worker uses the database: no request waits long for one that hangs, and none creates an empty file.

Commands have no such limits: a migration may take long, and a start waits for another's.
"""

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections

from llmservice import database_file

# The server ends a statement, also one that waits for a lock.
STATEMENT_S = 5
# The client gives up where the server says nothing at all.
SILENCE_S = 7
LIMITS_S = {
    "statement_timeout": STATEMENT_S,
    # The transaction of a process that has stopped in the middle of it keeps its locks.
    "idle_in_transaction_session_timeout": 30,
}

T = TypeVar("T")

# What the operator has set in the URL, or for the role or the database, stays.
LIMIT = "SELECT set_config(%s, %s, false) WHERE current_setting(%s) = '0'"


class LimitedConnection(psycopg.Connection[Any]):
    """A connection whose statements end within `SILENCE_S`, whatever the server does."""

    @classmethod
    def connect(cls, conninfo: str = "", **options: Any) -> "LimitedConnection":
        connection = super().connect(conninfo, **options)
        try:
            for name, seconds in LIMITS_S.items():
                connection.execute(LIMIT, [name, f"{seconds}s", name])
        except BaseException:
            connection.close()
            raise
        return connection

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        return super().wait(self._limited(gen), *args, **kwargs)

    def _limited(self, gen: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        until = time.monotonic() + SILENCE_S
        try:
            state = next(gen)
            while True:
                ready = yield state
                if not ready and time.monotonic() > until:
                    gen.close()
                    # The answer may still come, and would be taken for that of the next statement.
                    self.pgconn.finish()
                    raise psycopg.OperationalError(f"the server has not answered for {SILENCE_S} s")
                state = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def apply() -> None:
    """Limit the statements of this process, before it connects for the first time."""
    config = connections.settings[DEFAULT_DB_ALIAS]
    options = config["OPTIONS"]
    if "pool" in options:
        options["pool"]["connection_class"] = LimitedConnection
    else:
        # How long a transaction waits for SQLite's lock.
        options["timeout"] = STATEMENT_S
        config["NAME"] = database_file.existing(config["NAME"])
