"""What an address may try without a good key: wrong keys, and keys that it reports as leaked.

Counted in the database for all processes together, by address, and never against a good key: whoever shares
an address with one who guesses is let in all the same.
"""

from datetime import datetime

from django.conf import settings
from django.db import connection, models, transaction

from accounts.limits import clock
from accounts.limits.gcra import Rate, microseconds, whole_seconds
from accounts.limits.policy import LimitExceeded
from accounts.models import AddressAllowance
from llmservice.http import networks

# So many rows that say nothing any more are taken out when one is added.
SWEPT = 100


class Purpose(models.TextChoices):
    """What is tried; each is counted apart."""

    AUTHENTICATION = "authentication", "wrong keys"
    REVOCATION = "revocation", "reports of leaked keys"


def count(purpose: Purpose, address: str | None, *, now: datetime | None = None) -> None:
    """Count a try from the address. Raises `LimitExceeded` if it is one too many, and then counts nothing."""
    per_minute = settings.LLM_FAILURES_PER_MINUTE
    if not per_minute:
        return
    rate = Rate(per_minute=per_minute, burst=per_minute)
    place = networks.neighbourhood(address)
    rows = AddressAllowance.objects.filter(purpose=purpose, address=place)
    # First without a lock: whoever tries too often is to cost as little as can be.
    _check(rate, rows.first(), purpose, now or clock.now())
    with transaction.atomic():
        row = rows.select_for_update().first()
        if row is None:
            AddressAllowance.objects.bulk_create(
                [AddressAllowance(purpose=purpose, address=place)], ignore_conflicts=True
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
            f"Too many {purpose.label} from this address: try again in {wait_s} seconds.",
            wait_s=wait_s,
            decided_at=now,
        )


def _sweep(now: datetime) -> None:
    past = AddressAllowance.objects.filter(tat_us__lte=microseconds(now))
    with transaction.atomic():
        # Rows that another process holds are left to it, so that no two wait for each other.
        skip = connection.features.has_select_for_update_skip_locked
        swept = past.select_for_update(skip_locked=skip).values_list("pk", flat=True)[:SWEPT]
        AddressAllowance.objects.filter(pk__in=list(swept)).delete()
