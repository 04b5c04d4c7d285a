"""Requests that reserve no tokens: each takes one of its key's requests a minute and counts in the usage."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.limits import endpoint, ledger
from accounts.limits.gcra import Rate
from accounts.limits.policy import LimitExceeded, Limits, Refusal, Standing, day_of
from accounts.models import APIKey, Outcome


def count(key: APIKey, outcome: Outcome, *, now: datetime | None = None) -> None:
    """Count a request that ends with `outcome`.

    Args:
        now: the time to decide by; the database's own unless a test says another.

    Raises:
        LimitExceeded: the key has no request left; it counts as refused.
    """
    rate = Limits.of(key).rate
    if rate is None:
        ledger.account(key.pk, day_of(now or timezone.now()), endpoint.current(), outcome)
        return
    with transaction.atomic():
        locked_at = ledger.lock(key.pk)
        now = now or locked_at
        standing, _ = ledger.standing(key.pk, now)
        refusal = _refusal(rate, standing)
        if refusal is None:
            ledger.take(key.pk, rate.taken(standing.tat_us, now_us=standing.now_us))
        outcome = outcome if refusal is None else Outcome.REFUSED
        ledger.account(key.pk, day_of(now), endpoint.current(), outcome)
    if refusal is not None:
        raise _exceeded(refusal, now)


def check(key: APIKey) -> None:
    """Refuse a request before work is spent on it, if its key has no request left now.

    It takes nothing and no lock: a request that passes is counted afterwards, and may still be refused then.

    Raises:
        LimitExceeded: the key has no request left; it counts as refused.
    """
    rate = Limits.of(key).rate
    if rate is None:
        return
    now = timezone.now()
    standing, _ = ledger.standing(key.pk, now)
    refusal = _refusal(rate, standing)
    if refusal is not None:
        ledger.account(key.pk, day_of(now), endpoint.current(), Outcome.REFUSED)
        raise _exceeded(refusal, now)


def _refusal(rate: Rate, standing: Standing) -> Refusal | None:
    only_rate = Limits(rate=rate, tokens_per_day=None, max_concurrent=None)
    return only_rate.refusal(standing, tokens=0, place_free_at=None)


def _exceeded(refusal: Refusal, now: datetime) -> LimitExceeded:
    return LimitExceeded(refusal.detail, code=refusal.code, wait_s=refusal.wait_s, decided_at=now)
