"""The statements by which requests of keys are counted, for `accounts.limits.admission`.

In SQL, because every request runs each of them, and making it of a query set takes longer than running it.
They are the same on SQLite and PostgreSQL but for the lock and the clock.
"""

from datetime import date, datetime
from typing import Any

from django.db import connection

from accounts import latency
from accounts.latency import Measure
from accounts.limits import clock
from accounts.limits.policy import Standing, day_of
from accounts.models import KeyAllowance, Outcome

# Each part looks at the same moment, so that a request which is settled meanwhile is seen either as running
# or as done, not as both or neither.
STANDING = """
    SELECT COALESCE((SELECT tat_us FROM accounts_keyallowance WHERE key_id = %(key)s), 0),
        COALESCE((SELECT SUM(prompt_tokens + completion_tokens) FROM accounts_dailyusage
            WHERE key_id = %(key)s AND day = %(day)s), 0),
        COUNT(*) FILTER (WHERE deadline > %(now)s), COUNT(*) FILTER (WHERE deadline <= %(now)s),
        COALESCE(SUM(tokens) FILTER (WHERE deadline > %(now)s AND day = %(day)s), 0)
    FROM accounts_reservation WHERE key_id = %(key)s AND NOT lost
"""
TAKE = """
    INSERT INTO accounts_keyallowance (key_id, tat_us) VALUES (%s, %s)
    ON CONFLICT (key_id) DO UPDATE SET tat_us = excluded.tat_us
"""
RESERVE = """
    INSERT INTO accounts_reservation (key_id, day, endpoint, tokens, deadline)
    VALUES (%s, %s, %s, %s, %s) RETURNING id
"""
# A database that was restored or has crashed may give an id again, so the deadline identifies it as well.
RELEASE = "DELETE FROM accounts_reservation WHERE id = %s AND key_id = %s AND deadline = %s RETURNING lost"
LOSE = "UPDATE accounts_reservation SET lost = TRUE WHERE id = %s AND NOT lost"
FOUND = """
    UPDATE accounts_dailyusage SET lost = lost - 1
    WHERE key_id = %s AND day = %s AND endpoint = %s AND lost > 0
"""
FORGET = "DELETE FROM accounts_reservation WHERE key_id = %s AND lost AND deadline <= %s"
COLUMNS = (*Outcome.values, "prompt_tokens", "completion_tokens", *latency.COLUMNS)
ACCOUNT = f"""
    INSERT INTO accounts_dailyusage (key_id, day, endpoint, {", ".join(COLUMNS)})
    VALUES (%s, %s, %s, {", ".join(["%s"] * len(COLUMNS))})
    ON CONFLICT (key_id, day, endpoint) DO UPDATE
    SET {", ".join(f"{c} = accounts_dailyusage.{c} + excluded.{c}" for c in COLUMNS)}
"""  # noqa: S608 — of nothing but the names above
# Waits for another transaction with the name to end.
TALLY = "INSERT INTO accounts_tallied (file, at) VALUES (%s, %s) ON CONFLICT (file) DO NOTHING"
# An admission does not wait until it is on the disk, since it holds the key's lock. It outlives the service's
# processes. If PostgreSQL itself crashes, it loses admissions and refusals of its last moment (three times
# wal_writer_delay at most), but no account, because `settle` waits for the disk. In SQLite's WAL mode a
# transaction outlives every process; the last ones are lost if the machine loses power.
NO_WAIT = "set_config('synchronous_commit', 'off', true)"
LOCK = f"""
    SELECT clock_timestamp(), {NO_WAIT} FROM
    (SELECT key_id FROM accounts_keyallowance WHERE key_id = %s FOR UPDATE) AS held
"""  # noqa: S608


def lock(key_id: int) -> datetime:
    """Let nobody else decide about the key until the transaction ends; returns the time of the decision.

    Called first in a transaction.
    """
    if connection.vendor != "postgresql":
        return clock.now()  # SQLite's transactions start with the lock on the whole database.
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [key_id])
        if (row := cursor.fetchone()) is None:
            KeyAllowance.objects.bulk_create([KeyAllowance(pk=key_id)], ignore_conflicts=True)
            cursor.execute(LOCK, [key_id])
            row = cursor.fetchone()
    return clock.in_utc(row[0])


def standing(key_id: int, now: datetime) -> tuple[Standing, int]:
    """What the key has used of its limits, and how many overdue reservations are not counted as lost yet."""
    with connection.cursor() as cursor:
        cursor.execute(STANDING, {"key": key_id, "day": _day(day_of(now)), "now": _moment(now)})
        tat_us, used, running, overdue, reserved = map(int, cursor.fetchone())
    return (
        Standing(now=now, tat_us=tat_us, running=running, used_tokens=used, reserved_tokens=reserved),
        overdue,
    )


def take(key_id: int, tat_us: int) -> None:
    """Set the key's theoretical arrival time."""
    with connection.cursor() as cursor:
        cursor.execute(TAKE, [key_id, tat_us])


def reserve(key_id: int, *, day: date, endpoint: str, tokens: int, deadline: datetime) -> int:
    """Hold a place and these tokens of the day; returns the reservation's id."""
    with connection.cursor() as cursor:
        cursor.execute(RESERVE, [key_id, _day(day), endpoint, tokens, _moment(deadline)])
        return int(cursor.fetchone()[0])


def release(reservation_id: int, *, key_id: int, deadline: datetime) -> bool | None:
    """Delete the reservation; returns whether it was counted as lost, None if it does not exist."""
    with connection.cursor() as cursor:
        cursor.execute(RELEASE, [reservation_id, key_id, _moment(deadline)])
        row = cursor.fetchone()
    return None if row is None else bool(row[0])


def lose(reservation_id: int) -> bool:
    """Mark the reservation as lost; False if it is already, or has been settled."""
    with connection.cursor() as cursor:
        cursor.execute(LOSE, [reservation_id])
        return bool(cursor.rowcount)


def found(key_id: int, day: date, endpoint: str) -> None:
    """Take back that a request was counted as lost."""
    with connection.cursor() as cursor:
        cursor.execute(FOUND, [key_id, _day(day), endpoint])


def forget(key_id: int, *, before: datetime) -> None:
    """Delete the key's lost reservations whose deadline passed before this time."""
    with connection.cursor() as cursor:
        cursor.execute(FORGET, [key_id, _moment(before)])


def account(
    key_id: int,
    day: date,
    endpoint: str,
    outcome: Outcome,
    *,
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
    first_token_ms: int | None = None,
    total_ms: int | None = None,
    count: int = 1,
) -> None:
    """Count a request, the tokens that it used, and how long it took if that was measured.

    Args:
        count: of this many requests, which used the tokens together.
    """
    counted = {
        outcome.value: count,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        **Measure.FIRST_TOKEN.counted(first_token_ms),
        **Measure.TOTAL.counted(total_ms),
    }
    with connection.cursor() as cursor:
        cursor.execute(ACCOUNT, [key_id, _day(day), endpoint, *(counted.get(c, 0) for c in COLUMNS)])


def tally(file: str, *, at: datetime) -> bool:
    """Note that the refused requests in the file are counted; False if they have been."""
    with connection.cursor() as cursor:
        cursor.execute(TALLY, [file, _moment(at)])
        return bool(cursor.rowcount)


def _day(day: date) -> Any:
    return connection.ops.adapt_datefield_value(day)


def _moment(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)
