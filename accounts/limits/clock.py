"""The time that decisions use: one clock for every process that shares the database."""

from datetime import UTC, datetime

from django.db import connection
from django.utils import timezone


def now() -> datetime:
    """The current time on the database's host, so that the clocks of the hosts that share it need not agree.

    Not the start of the transaction: after waiting for a lock, a decision uses the time at which it got it.
    """
    if connection.vendor != "postgresql":
        return timezone.now()  # SQLite runs on this host.
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return in_utc(cursor.fetchone()[0])


def in_utc(moment: datetime) -> datetime:
    """Convert a time from the database to UTC, which days are counted in."""
    return moment.astimezone(UTC)
