"""When and from where secrets are used, recorded rarely enough not to slow down requests."""

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from accounts.events import Actor, record
from accounts.models import APIKeySecret, EventKind

USED_RESOLUTION = timedelta(minutes=1)
# Holders of an expired secret may go on using it all day.
REFUSED_RESOLUTION = timedelta(days=1)


def record_use(*, secret: APIKeySecret, now: datetime, address: str | None = None) -> None:
    """Record that the secret was accepted, with at most one write per minute."""
    same = APIKeySecret.objects.filter(pk=secret.pk)
    used = {"last_used_at": now, "last_used_from": address}
    if secret.last_used_at is None:
        with transaction.atomic():
            if same.filter(last_used_at__isnull=True).update(**used):
                _record(_first_use(secret), secret, now, address)
    elif secret.last_used_at <= (stale := now - USED_RESOLUTION):
        same.filter(last_used_at__lte=stale).update(**used)


def record_refusal(*, secret: APIKeySecret, now: datetime, address: str | None = None) -> None:
    """Record an attempt to use the secret after it or its key expired, with at most one write per day."""
    stale = now - REFUSED_RESOLUTION
    if secret.refused_at is not None and secret.refused_at > stale:
        return
    due = Q(refused_at__isnull=True) | Q(refused_at__lte=stale)
    with transaction.atomic():
        if APIKeySecret.objects.filter(due, pk=secret.pk).update(refused_at=now):
            _record(EventKind.REFUSED_EXPIRED, secret, now, address)


def _first_use(secret: APIKeySecret) -> EventKind:
    """Tells the successor of a rotation from all others: its first use is a reason to end a grace period."""
    made_by_rotation = secret.created_at > secret.key.created_at
    replaced = secret.expires_at is not None
    return EventKind.SUCCESSOR_USED if made_by_rotation and not replaced else EventKind.FIRST_USED


def _record(kind: EventKind, secret: APIKeySecret, now: datetime, address: str | None) -> None:
    record(kind, key=secret.key, secret=secret, by=Actor.holder(secret, address=address), at=now)
