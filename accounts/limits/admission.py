"""Admission of requests, and the account of what they used: exact for any number of processes and hosts.

A request is admitted in one short transaction that holds the key's `KeyAllowance` locked (on SQLite it holds
the database's write lock from its start), so decisions about one key come one after the other, each by the
time at which it is made. An admitted request leaves a `Reservation`. Whoever deletes that accounts for the
request: `settle`, at its end or, if the database was away, later. A request that has not been settled by its
deadline holds nothing any more, and the next admission counts it as lost.

Every transaction takes its locks in the same order, so that no two wait for each other: allowance (or, for
refused requests, the name of their file), then reservations by their number, then daily usage by key, day and
endpoint.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import transaction
from django.utils import timezone

from accounts.limits import clock, ledger
from accounts.limits.policy import LimitExceeded, Limits, Standing, day_of
from accounts.limits.settlement import Settlement
from accounts.models import UNKNOWN_ENDPOINT, APIKey, DailyUsage, Outcome, Reservation

# Beyond the time that the engine gives a request: for its last step, and for its account to be written.
SETTLE_TIME = timedelta(seconds=60)
# The official clients of OpenAI give up where they are told to wait for longer than 60 s.
LONGEST_WAIT = timedelta(seconds=30)
# A lost request can still be settled for so long after its deadline.
LOST_KEPT = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Admission:
    """A request that was let in at `decided_at`, by the database's clock, and has not been settled."""

    reservation_id: int
    key_id: int
    day: date
    endpoint: str
    deadline: datetime
    decided_at: datetime

    def settlement(
        self,
        outcome: Outcome,
        *,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        first_token_ms: int | None = None,
        total_ms: int | None = None,
    ) -> Settlement:
        """The account of the request when it has ended."""
        return Settlement(
            reservation_id=self.reservation_id,
            key_id=self.key_id,
            day=self.day,
            endpoint=self.endpoint,
            deadline=self.deadline,
            outcome=outcome,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            first_token_ms=first_token_ms,
            total_ms=total_ms,
        )


def admit(
    *,
    key: APIKey,
    tokens: int,
    timeout_s: float,
    endpoint: str = UNKNOWN_ENDPOINT,
    now: datetime | None = None,
) -> Admission:
    """Let a request in that may use this many tokens (prompt and answer), and reserve them.

    Args:
        endpoint: where it counts in the usage.
        timeout_s: after which the request has ended; a minute later it holds nothing any more.
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
        ended = [(*lost, Outcome.LOST) for lost in _give_back(key.pk, now)] if overdue else []
        place_free_at = _place_free_at(key.pk, limits, standing, timeout_s=timeout_s)
        refusal = limits.refusal(standing, tokens=tokens, place_free_at=place_free_at)
        if limits.rate is not None:
            after = limits.rate.taken if refusal is None else limits.rate.bounded
            if (tat_us := after(standing.tat_us, now_us=standing.now_us)) != standing.tat_us:
                ledger.take(key.pk, tat_us)
        if refusal is None:
            deadline = now + _held_for(timeout_s)
            reservation_id = ledger.reserve(
                key.pk, day=day, endpoint=endpoint, tokens=tokens, deadline=deadline
            )
        else:
            ended.append((day, endpoint, Outcome.REFUSED))
        for ended_on, at, outcome in sorted(ended):
            ledger.account(key.pk, ended_on, at, outcome)
    if refusal is None:
        return Admission(
            reservation_id=reservation_id,
            key_id=key.pk,
            day=day,
            endpoint=endpoint,
            deadline=deadline,
            decided_at=now,
        )
    raise LimitExceeded(refusal.detail, code=refusal.code, wait_s=refusal.wait_s, decided_at=now)


def settle(settlements: Sequence[Settlement], *, new: Collection[Settlement] = ()) -> int:
    """Account for requests that have ended, in one transaction; returns how many this call has counted.

    A request that has been accounted for already is not counted again, so an attempt whose end is unknown may
    be repeated. One that was counted as lost is counted as what it was instead.

    Args:
        new: those that surely have not been accounted for. They are counted even if their reservation does
            not exist: the database has lost it in a crash.
    """
    with transaction.atomic():
        released = [
            (one, ledger.release(one.reservation_id, key_id=one.key_id, deadline=one.deadline))
            for one in sorted(settlements, key=lambda one: one.reservation_id)
        ]
        counted = [(one, lost) for one, lost in released if lost is not None or one in new]
        for one, was_lost in sorted(counted, key=lambda it: (it[0].key_id, it[0].day, it[0].endpoint)):
            if was_lost:
                ledger.found(one.key_id, one.day, one.endpoint)
            ledger.account(
                one.key_id,
                one.day,
                one.endpoint,
                one.outcome,
                prompt_tokens=one.prompt_tokens,
                completion_tokens=one.completion_tokens,
                first_token_ms=one.first_token_ms,
                total_ms=one.total_ms,
            )
    return len(counted)


def standing_of(key: APIKey, *, now: datetime | None = None) -> Standing:
    """What the key has used of its limits by now, to be told: by this host's clock, without a lock."""
    return ledger.standing(key.pk, now or timezone.now())[0]


def today(key: APIKey, standing: Standing) -> list[DailyUsage]:
    """What the key has used on the day of the standing, by endpoint."""
    return list(DailyUsage.objects.filter(key=key, day=day_of(standing.now)))


def give_back_overdue(*, now: datetime | None = None) -> int:
    """Count all requests as lost that were not settled by their deadline; returns how many there were."""
    now = now or clock.now()
    keys = Reservation.objects.filter(deadline__lte=now, lost=False).values_list("key_id", flat=True)
    count = 0
    for key_id in list(keys.distinct()):
        with transaction.atomic():
            ledger.lock(key_id)
            lost = _give_back(key_id, now)
            for day, endpoint in sorted(lost):
                ledger.account(key_id, day, endpoint, Outcome.LOST)
            count += len(lost)
    return count


def _place_free_at(key_id: int, limits: Limits, standing: Standing, *, timeout_s: float) -> datetime | None:
    """When another attempt is worth while, as one more may run by then; None if it may now.

    How long a request still runs is not known. It is expected to run for as long again as it has run already,
    so a client that follows waits for at most twice as long as it would have had to, with few attempts.
    """
    if limits.max_concurrent is None or standing.running < limits.max_concurrent:
        return None
    running = Reservation.objects.filter(key_id=key_id, deadline__gt=standing.now, lost=False)
    first = standing.running - limits.max_concurrent
    # None if a request has ended meanwhile: settling does not wait for admissions.
    deadlines = running.order_by("deadline").values_list("deadline", flat=True)
    for deadline in deadlines[first : first + 1]:
        begun_at = deadline - _held_for(timeout_s)
        return min(deadline, standing.now + min(standing.now - begun_at, LONGEST_WAIT))
    return None


def _held_for(timeout_s: float) -> timedelta:
    """How long a reservation holds its place if nobody settles it."""
    return timedelta(seconds=timeout_s) + SETTLE_TIME


def _give_back(key_id: int, now: datetime) -> list[tuple[date, str]]:
    """Give the key's overdue reservations back; returns the day and the endpoint of each, to be counted.

    The caller holds the key's allowance.
    """
    ledger.forget(key_id, before=now - LOST_KEPT)
    overdue = Reservation.objects.filter(key_id=key_id, deadline__lte=now, lost=False).order_by("pk")
    return [
        (day, endpoint)
        for reservation_id, day, endpoint in list(overdue.values_list("pk", "day", "endpoint"))
        if ledger.lose(reservation_id)
    ]
