"""All that can happen to an API key. Whoever changes a key, calls one of these functions.

Each is a transaction of its own and starts it with a conditional UPDATE (or an INSERT under a unique
constraint), so it holds against a second one at the same moment on SQLite and on PostgreSQL alike.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts import tokens
from accounts.models import APIKey, APIKeySecret, KeyState

DEFAULT_KEY_NAME = "default"
MAX_LIVE_SECRETS = 2
LAST_USED_RESOLUTION = timedelta(minutes=1)


class KeyChangeError(Exception):
    """The change is not to be had in the key's present state; its text tells an administrator why."""


@dataclass(frozen=True, kw_only=True)
class IssuedSecret:
    """A secret just made: the only place where its plaintext ever is."""

    key: APIKey
    secret: APIKeySecret
    plaintext: str = field(repr=False)


def create_key(
    *,
    name: str,
    owner: str = "",
    note: str = "",
    expires_at: datetime | None = None,
    created_by: User | None = None,
) -> IssuedSecret:
    """Make a key with its first secret. Raises `KeyChangeError` if a key in use has this name."""
    key = APIKey(name=name, owner=owner, note=note, expires_at=expires_at, created_by=created_by)
    with _name_in_use_refused(name):
        return _save_with_secret(key=key, plaintext=tokens.generate())


def describe(*, key: APIKey, fields: Collection[str]) -> None:
    """Save these fields of the key, and no other, so that what happened to it meanwhile stays.

    Raises `KeyChangeError` if a key in use has its name.
    """
    with _name_in_use_refused(key.name), transaction.atomic():
        key.save(update_fields=fields)


def seed_default_key(*, secret: str) -> APIKey | None:
    """Make the key that a fresh installation answers to, with a secret that the operator chose.

    Returns None where the database holds a key already, be it made by another process at this very moment.
    Raises `ValueError` if no key can have this secret.
    """
    if not tokens.is_acceptable(secret):
        raise ValueError("no key can have this secret")
    if APIKey.objects.exists():
        return None
    try:
        return _save_with_secret(key=APIKey(name=DEFAULT_KEY_NAME), plaintext=secret).key
    except IntegrityError:
        return None


def rotate(*, key: APIKey, grace: timedelta) -> IssuedSecret:
    """Give the key a new secret; what it had stays good for `grace`, or is dead at once if that is zero.

    `key` is the key as its caller saw it: where it has been rotated since then, this raises
    `KeyChangeError`, so that of two rotations at the same time one wins. So it does for a key that is revoked
    or expired, and where an earlier grace still runs and this one would leave three secrets alive.
    """
    if grace < timedelta(0):
        raise ValueError("the grace cannot be negative")
    now = timezone.now()
    with transaction.atomic():
        seen = APIKey.objects.filter(pk=key.pk, rotations=key.rotations)
        if not seen.update(rotations=F("rotations") + 1):
            raise KeyChangeError(
                "This key has been rotated since you opened it; nothing was changed. "
                "Look at its secrets before you rotate it again."
            )
        key.refresh_from_db()
        _refuse_in(key, KeyState.REVOKED, "A revoked key stays revoked: create a new one.", now)
        _refuse_in(key, KeyState.EXPIRED, "This key has expired: give it a later expiry first.", now)
        live = APIKeySecret.objects.filter(key=key).live(now)
        if grace and live.count() >= MAX_LIVE_SECRETS:
            raise KeyChangeError(
                "Two secrets of this key are live already: wait for the end of the older one's grace, "
                "or rotate without a grace, which ends both at once."
            )
        end = now + grace
        live.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=end)).update(expires_at=end)
        return _add_secret(key=key, plaintext=tokens.generate(), now=now)


def disable(*, key: APIKey) -> None:
    """Refuse the key until `enable`. Raises `KeyChangeError` if it is revoked."""
    _set_unless_revoked(key, disabled_at=timezone.now())


def enable(*, key: APIKey) -> None:
    """Undo `disable`. Raises `KeyChangeError` if the key is revoked."""
    _set_unless_revoked(key, disabled_at=None)


def revoke(*, key: APIKey) -> None:
    """Refuse the key for good. Raises `KeyChangeError` if it is revoked already."""
    _set_unless_revoked(key, revoked_at=timezone.now())


def find_secret(plaintext: str) -> APIKeySecret | None:
    """Return the secret that this is, with its key, in whatever state; None if it is not one of ours."""
    if not tokens.is_acceptable(plaintext):
        return None
    return APIKeySecret.objects.select_related("key").filter(digest=tokens.digest(plaintext)).first()


def record_use(*, secret: APIKeySecret, now: datetime) -> None:
    """Remember that the secret was accepted, with at most one write a minute."""
    stale = now - LAST_USED_RESOLUTION
    if secret.last_used_at is not None and secret.last_used_at > stale:
        return
    due = Q(last_used_at__isnull=True) | Q(last_used_at__lte=stale)
    APIKeySecret.objects.filter(due, pk=secret.pk).update(last_used_at=now)


@contextmanager
def _name_in_use_refused(name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise KeyChangeError(f"A key named “{name}” is in use already.") from error


def _save_with_secret(*, key: APIKey, plaintext: str) -> IssuedSecret:
    with transaction.atomic():
        key.save(force_insert=True)
        return _add_secret(key=key, plaintext=plaintext, now=key.created_at)


def _add_secret(*, key: APIKey, plaintext: str, now: datetime) -> IssuedSecret:
    secret = APIKeySecret.objects.create(
        key=key, digest=tokens.digest(plaintext), prefix=tokens.display_prefix(plaintext), created_at=now
    )
    return IssuedSecret(key=key, secret=secret, plaintext=plaintext)


def _refuse_in(key: APIKey, state: KeyState, reason: str, now: datetime) -> None:
    if key.state_at(now) is state:
        raise KeyChangeError(reason)


def _set_unless_revoked(key: APIKey, **fields: datetime | None) -> None:
    if not APIKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(**fields):
        raise KeyChangeError("A revoked key stays revoked: create a new one.")
    key.refresh_from_db()
