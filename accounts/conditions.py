"""Conditions of active keys that an administrator should notice: each may call for an action."""

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet, TextChoices

from accounts.models import APIKey, APIKeySecret, KeyState

EXPIRING_WITHIN = timedelta(days=14)
UNUSED_FOR = timedelta(days=30)


class Condition(TextChoices):
    EXPIRING = "expiring", f"Expiring within {EXPIRING_WITHIN.days} days"
    IN_GRACE = "in_grace", "In grace period"
    UNUSED = "unused", f"Unused for {UNUSED_FOR.days} days"


def conditions_at(key: APIKey, now: datetime) -> list[Condition]:
    """The conditions that apply to the key; reads its secrets through `key.secrets.all()`."""
    if key.state_at(now) is not KeyState.ACTIVE:
        return []
    secrets = list(key.secrets.all())
    unused_since = now - UNUSED_FOR
    applies = {
        Condition.EXPIRING: key.expires_at is not None and key.expires_at <= now + EXPIRING_WITHIN,
        Condition.IN_GRACE: any(s.expires_at is not None and s.is_live_at(now) for s in secrets),
        Condition.UNUSED: key.created_at <= unused_since
        and not any(s.last_used_at is not None and s.last_used_at > unused_since for s in secrets),
    }
    return [condition for condition, it_does in applies.items() if it_does]


def having(condition: Condition, now: datetime) -> QuerySet[APIKey]:
    """The keys for which `conditions_at(key, now)` contains the condition."""
    active = APIKey.objects.in_state(KeyState.ACTIVE, now)
    secrets = APIKeySecret.objects.filter(key=OuterRef("pk"))
    unused_since = now - UNUSED_FOR
    match condition:
        case Condition.EXPIRING:
            return active.filter(expires_at__lte=now + EXPIRING_WITHIN)
        case Condition.IN_GRACE:
            return active.filter(Exists(secrets.filter(expires_at__gt=now)))
        case Condition.UNUSED:
            used = Exists(secrets.filter(last_used_at__gt=unused_since))
            return active.filter(~used, created_at__lte=unused_since)
