"""Admission of requests, and the account of what they used: exact for any number of processes and hosts.

A request is admitted in one short transaction that holds the key's `KeyAllowance` locked (on SQLite it holds
the database's write lock from its start), so decisions about one key come one after the other, each by the
time at which it is made. An admitted request leaves a `Reservation`. Whoever deletes that accounts for the
request: `settle` at its end, or the next admission after its deadline, if its process was killed.

Every transaction takes its locks in the same order: allowance, reservation, daily usage.
"""

import logging
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from accounts.limits import clock, ledger
from accounts.limits.policy import LimitExceeded, Limits, Standing, day_of
from accounts.models import APIKey, DailyUsage, Outcome, Reservation

# Beyond the time that the engine gives a request: for its last step, and for its account to be written.
SETTLE_TIME = timedelta(seconds=60)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A request that was let in at `decided_at`, by the database's clock, and has not been settled."""

    reservation_id: int
    key_id: int
    day: date
    decided_at: datetime


def admit(*, key: APIKey, tokens: int, timeout_s: float, now: datetime | None = None) -> Admission:
    """Let a request in that may use so many tokens (prompt and answer), and reserve them.

    Args:
        timeout_s: after which the request has ended; what is not settled a minute later is given back.
        now: the time to decide by; the database's own unless a test says another.

    Raises:
        LimitExceeded: a limit has no room for it now.
        NeverWithinLimit: it is larger than the key's tokens of a day.
    """
    limits = Limits.of(key)
    limits.check_possible(tokens)
    with transaction.atomic():
        locked_at = ledger.lock(key.pk)
        now = now or locked_at
        day = day_of(now)
        standing, overdue = ledger.standing(key.pk, now)
        if overdue:
            _give_back(key.pk, now)
            standing, _ = ledger.standing(key.pk, now)
        place_free_at = _place_free_at(key.pk, limits, standing)
        refusal = limits.refusal(standing, tokens=tokens, place_free_at=place_free_at)
        if limits.rate is not None:
            after = limits.rate.taken if refusal is None else limits.rate.bounded
            if (tat_us := after(standing.tat_us, now_us=standing.now_us)) != standing.tat_us:
                ledger.take(key.pk, tat_us)
        if refusal is None:
            deadline = now + timedelta(seconds=timeout_s) + SETTLE_TIME
            reservation_id = ledger.reserve(key.pk, day=day, tokens=tokens, deadline=deadline)
            return Admission(reservation_id=reservation_id, key_id=key.pk, day=day, decided_at=now)
        ledger.account(key.pk, day, Outcome.REFUSED)
    raise LimitExceeded(refusal.detail, code=refusal.code, wait_s=refusal.wait_s, decided_at=now)


def settle(
    admission: Admission, outcome: Outcome, *, prompt_tokens: int = 0, completion_tokens: int = 0
) -> bool:
    """Account for the end of a request: give its reservation back and count what it used.

    False if its reservation has been given back already, because it ended after its deadline: it is counted
    as lost, and what it used is not counted, since others may have been given its tokens.
    """
    try:
        return _settle(admission, outcome, prompt_tokens, completion_tokens)
    except (OperationalError, InterfaceError):
        # The database may have been restarted while the request ran; its connection then is of no use.
        connection.close_if_unusable_or_obsolete()
        return _settle(admission, outcome, prompt_tokens, completion_tokens)


def standing_of(key: APIKey, *, now: datetime | None = None) -> Standing:
    """What the key has used of its limits by now, to be told: by this host's clock, without a lock."""
    return ledger.standing(key.pk, now or timezone.now())[0]


def today(key: APIKey, standing: Standing) -> DailyUsage:
    """What the key has used on the day of the standing; not saved where it has used nothing."""
    day = day_of(standing.now)
    return DailyUsage.objects.filter(key=key, day=day).first() or DailyUsage(key=key, day=day)


def give_back_overdue(*, now: datetime | None = None) -> int:
    """Account for all requests that nobody settled by their deadline; returns how many there were."""
    now = now or clock.now()
    keys = Reservation.objects.filter(deadline__lte=now).values_list("key_id", flat=True).distinct()
    count = 0
    for key_id in list(keys):
        with transaction.atomic():
            ledger.lock(key_id)
            count += _give_back(key_id, now)
    return count


def _settle(admission: Admission, outcome: Outcome, prompt_tokens: int, completion_tokens: int) -> bool:
    with transaction.atomic():
        if not ledger.release(admission.reservation_id):
            logger.warning("A request of key %d was settled after its deadline.", admission.key_id)
            return False
        ledger.account(
            admission.key_id,
            admission.day,
            outcome,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
        )
        return True


def _place_free_at(key_id: int, limits: Limits, standing: Standing) -> datetime | None:
    """When, at the latest, so many requests have ended that one more may run; None if it may now."""
    if limits.max_concurrent is None or standing.running < limits.max_concurrent:
        return None
    running = Reservation.objects.filter(key_id=key_id).order_by("deadline")
    return running.values_list("deadline", flat=True)[standing.running - limits.max_concurrent]


def _give_back(key_id: int, now: datetime) -> int:
    """Count the key's overdue requests as lost; the caller holds its allowance."""
    count = 0
    overdue = Reservation.objects.filter(key_id=key_id, deadline__lte=now)
    for reservation_id, day in list(overdue.values_list("pk", "day")):
        if ledger.release(reservation_id):
            ledger.account(key_id, day, Outcome.LOST)
            count += 1
    return count
