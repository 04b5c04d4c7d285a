"""The time that decisions are made by: one clock for all that share the database."""

from datetime import UTC, datetime

from django.db import connection
from django.utils import timezone


def now() -> datetime:
    """The time of the database's host, now: hosts that share a PostgreSQL need not agree on theirs.

    Not the start of the transaction: whoever has waited for a lock decides by the time at which it has it.
    """
    if connection.vendor != "postgresql":
        return timezone.now()  # SQLite has no host but this one.
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return in_utc(cursor.fetchone()[0])


def in_utc(moment: datetime) -> datetime:
    """The moment as it came from the database, in the time zone that days are counted in."""
    return moment.astimezone(UTC)
