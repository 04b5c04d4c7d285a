"""What an administrator should notice of an active key: it asks for a deed, or tells of one half done."""

from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef, QuerySet, TextChoices

from accounts.models import APIKey, APIKeySecret, KeyState

EXPIRING_WITHIN = timedelta(days=14)
UNUSED_FOR = timedelta(days=30)


class Condition(TextChoices):
    EXPIRING = "expiring", f"Expiring within {EXPIRING_WITHIN.days} days"
    IN_GRACE = "in_grace", "In grace"
    UNUSED = "unused", f"Unused for {UNUSED_FOR.days} days"


def conditions_at(key: APIKey, now: datetime) -> list[Condition]:
    """The conditions that hold of the key; reads its secrets through `key.secrets.all()`."""
    if key.state_at(now) is not KeyState.ACTIVE:
        return []
    secrets = list(key.secrets.all())
    unused_since = now - UNUSED_FOR
    holds = {
        Condition.EXPIRING: key.expires_at is not None and key.expires_at <= now + EXPIRING_WITHIN,
        Condition.IN_GRACE: any(s.expires_at is not None and s.is_live_at(now) for s in secrets),
        Condition.UNUSED: key.created_at <= unused_since
        and not any(s.last_used_at is not None and s.last_used_at > unused_since for s in secrets),
    }
    return [condition for condition, it_does in holds.items() if it_does]


def having(condition: Condition, now: datetime) -> QuerySet[APIKey]:
    """The keys of which `conditions_at(key, now)` has the condition."""
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
