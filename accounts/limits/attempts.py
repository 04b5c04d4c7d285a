"""Rate limits for callers without a valid key: attempts with wrong keys, and reports of leaked keys.

Attempts are counted by address, in the database for all processes together. They never affect a valid key, so
guessing does not lock out others who share the address.
"""

from datetime import datetime

from django.conf import settings
from django.db import connection, models, transaction

from accounts.codes import ADDRESS_LIMIT
from accounts.limits import clock
from accounts.limits.gcra import Rate, microseconds, whole_seconds
from accounts.limits.policy import LimitExceeded, in_words
from accounts.models import AddressAllowance
from llmservice.http import networks

# At most this many rows that no longer limit anyone are deleted whenever an attempt is counted.
SWEPT = 100


class Purpose(models.TextChoices):
    """What an attempt is for; each purpose is counted separately."""

    AUTHENTICATION = "authentication", "wrong keys"
    REVOCATION = "revocation", "reports of leaked keys"


def count(purpose: Purpose, address: str | None, *, now: datetime | None = None) -> None:
    """Count an attempt from the address, or raise `LimitExceeded` and count nothing at the limit."""
    per_minute = settings.LLM_FAILURES_PER_MINUTE
    if not per_minute:
        return
    rate = Rate(per_minute=per_minute, burst=per_minute)
    network = networks.neighbourhood(address)
    rows = AddressAllowance.objects.filter(purpose=purpose, address=network)
    # First without a lock: refusing a flood of attempts should cost as little as possible.
    _check(rate, rows.first(), purpose, now or clock.now())
    with transaction.atomic():
        row = rows.select_for_update().first()
        if row is None:
            AddressAllowance.objects.bulk_create(
                [AddressAllowance(purpose=purpose, address=network)], ignore_conflicts=True
            )
            row = rows.select_for_update().get()
        decided_at = now or clock.now()
        _check(rate, row, purpose, decided_at)
        row.tat_us = rate.taken(row.tat_us, now_us=microseconds(decided_at))
        row.save(update_fields=["tat_us"])
    _sweep(decided_at)


def _check(rate: Rate, row: AddressAllowance | None, purpose: Purpose, now: datetime) -> None:
    wait_us = 0 if row is None else rate.wait_us(row.tat_us, now_us=microseconds(now))
    if wait_us:
        wait_s = whole_seconds(wait_us)
        raise LimitExceeded(
            f"Too many {purpose.label} from this address: try again in {in_words(wait_s)}.",
            code=ADDRESS_LIMIT,
            wait_s=wait_s,
            decided_at=now,
        )


def _sweep(now: datetime) -> None:
    past = AddressAllowance.objects.filter(tat_us__lte=microseconds(now))
    with transaction.atomic():
        # Rows that another process has locked are skipped, so that two processes never wait for each other.
        skip = connection.features.has_select_for_update_skip_locked
        swept = past.select_for_update(skip_locked=skip).values_list("pk", flat=True)[:SWEPT]
        AddressAllowance.objects.filter(pk__in=list(swept)).delete()
