"""Every change of an API key and its secrets. Code that changes a key calls one of these functions.

Each records its `KeyEvent` in the same transaction, with `by` as the actor.

Each is a transaction of its own that starts with a conditional UPDATE, or with an INSERT under a unique
constraint. Two concurrent changes of a key are therefore safe on SQLite and on PostgreSQL.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts import tokens
from accounts.events import SYSTEM, Actor, record
from accounts.key_fields import LIMITS, checked_limits, checked_scopes
from accounts.models import APIKey, APIKeySecret, EventKind, KeyState, Prompts, Scope
from llmservice.http import networks

FIRST_KEY_NAME = "default"
MAX_LIVE_SECRETS = 2
REVOKED_STAYS = "This key is revoked, which is permanent: create a new key instead."


class KeyChangeError(Exception):
    """The change is not possible in the key's present state; the text tells an administrator why."""


@dataclass(frozen=True, kw_only=True)
class IssuedSecret:
    """A secret at the moment of its creation: the only object that ever holds its plaintext."""

    key: APIKey
    secret: APIKeySecret
    plaintext: str = field(repr=False)


def create_key(
    *,
    name: str,
    owner: str = "",
    note: str = "",
    expires_at: datetime | None = None,
    limits: Mapping[str, int | None] | None = None,
    allowed_networks: Collection[str] = (),
    scopes: Collection[str] = tuple(Scope),
    prompts: Prompts = Prompts.DEFAULT,
    by: Actor = SYSTEM,
) -> IssuedSecret:
    """Create a key with its first secret.

    Args:
        limits: some or all of `LIMITS`; None is the default from the settings, 0 is unlimited.

    Raises:
        KeyChangeError: a key that is not revoked has this name, or a limit, network or scope is invalid.
    """
    with _refused_if_invalid():
        key = APIKey(
            name=name,
            owner=owner,
            note=note,
            expires_at=expires_at,
            created_by=by.user,
            allowed_networks=networks.parse(allowed_networks),
            scopes=checked_scopes(scopes),
            prompts=prompts,
            **checked_limits(limits or {}),
        )
    with _refused_if_name_in_use(name):
        return _save_with_secret(key=key, plaintext=tokens.generate(), by=by)


def update_key(*, key: APIKey, fields: Collection[str], by: Actor = SYSTEM) -> None:
    """Save these fields of the key and no others, so that concurrent changes to the others are kept.

    Raises:
        KeyChangeError: a key that is not revoked has its name, or a limit, network or scope is invalid.
    """
    if not fields:
        return
    limits = [field for field in fields if field in LIMITS]
    others = [field for field in fields if field not in LIMITS]
    with _refused_if_invalid():
        checked_limits(_values(key, limits))
        key.allowed_networks = networks.parse(key.allowed_networks)
        key.scopes = checked_scopes(key.scopes)
    with _refused_if_name_in_use(key.name), transaction.atomic():
        before = APIKey.objects.select_for_update().get(pk=key.pk)
        key.save(update_fields=fields)
        for kind, name, saved in (
            (EventKind.LIMITS_CHANGED, "limits", limits),
            (EventKind.CHANGED, "fields", others),
        ):
            if changed := [field for field in saved if getattr(key, field) != getattr(before, field)]:
                details: dict[str, Any] = {
                    name: _as_json(_values(key, changed)),
                    "before": _as_json(_values(before, changed)),
                }
                record(kind, key=key, by=by, **details)


def create_first_key(*, secret: str) -> APIKey | None:
    """Create the key of a fresh database, with a secret that the operator chose.

    Returns None if the database already holds a key, even one that a concurrent process creates.
    Raises `ValueError` if `secret` cannot be a key's secret.
    """
    if not tokens.is_acceptable(secret):
        raise ValueError("this text cannot be the secret of a key")
    if APIKey.objects.exists():
        return None
    try:
        return _save_with_secret(key=APIKey(name=FIRST_KEY_NAME), plaintext=secret, by=SYSTEM).key
    except IntegrityError:
        return None


def rotate(
    *,
    key: APIKey,
    grace: timedelta,
    reason: str = "",
    made_with: APIKeySecret | None = None,
    by: Actor = SYSTEM,
) -> IssuedSecret:
    """Add a new secret to the key. The previous one keeps working for `grace`, or ends now if that is zero.

    Args:
        key: the key as the caller saw it. If it has been rotated since, the rotation is refused, so that of
            two concurrent rotations one succeeds.
        made_with: the secret that authenticated the rotation, if the key's holder asked for it; None if an
            administrator did.

    Raises:
        KeyChangeError: the key has been rotated since, is revoked or expired, or this grace period would
            leave three live secrets.
    """
    if grace < timedelta(0):
        raise ValueError("the grace period cannot be negative")
    now = timezone.now()
    with transaction.atomic():
        seen = APIKey.objects.filter(pk=key.pk, rotations=key.rotations)
        if not seen.update(rotations=F("rotations") + 1):
            raise KeyChangeError(
                "This key has been rotated since you opened it; nothing was changed. "
                "Look at its secrets before you rotate it again."
            )
        key.refresh_from_db()
        _refuse_in(key, KeyState.REVOKED, REVOKED_STAYS, now)
        _refuse_in(key, KeyState.EXPIRED, "This key has expired: set a later expiry first.", now)
        live = APIKeySecret.objects.filter(key=key).live(now)
        if grace and live.count() >= MAX_LIVE_SECRETS:
            raise KeyChangeError(
                "This key already has two live secrets: wait until the grace period of the older one ends, "
                "or rotate without a grace period, which ends both at once."
            )
        end = now + grace
        live.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=end)).update(expires_at=end)
        issued = _add_secret(key=key, plaintext=tokens.generate(), now=now, made_with=made_with)
        record(
            EventKind.ROTATED,
            key=key,
            secret=issued.secret,
            by=by,
            at=now,
            grace_s=int(grace.total_seconds()),
            reason=reason,
        )
        return issued


def end_grace(*, key: APIKey, reason: str = "", by: Actor = SYSTEM) -> None:
    """End the grace period of the key's old secret now. Raises `KeyChangeError` if there is none."""
    now = timezone.now()
    with transaction.atomic():
        in_grace = list(APIKeySecret.objects.filter(key=key, expires_at__isnull=False).live(now))
        ended = [secret for secret in in_grace if _end(secret, now)]
        if not ended:
            raise KeyChangeError("This key has no secret in a grace period.")
        for secret in ended:
            record(EventKind.GRACE_ENDED, key=key, secret=secret, by=by, at=now, reason=reason)


def revoke_secret(*, secret: APIKeySecret, reason: str = "", by: Actor = SYSTEM) -> None:
    """Revoke a leaked secret, and with it every secret that was created with it over the API.

    The secrets that an administrator created stay. A secret that has already ended is left as it is, but
    those created with it are revoked.
    """
    now = timezone.now()
    with transaction.atomic():
        # A rotation that waits for this transaction then finds another count, and is refused.
        APIKey.objects.filter(pk=secret.key_id).update(rotations=F("rotations") + 1)
        family = [secret]
        for parent in family:
            family.extend(parent.made.all())
        for member in family:
            if _end(member, now, revoked_at=now):
                record(EventKind.SECRET_REVOKED, key=secret.key, secret=member, by=by, at=now, reason=reason)


def disable(*, key: APIKey, reason: str = "", by: Actor = SYSTEM) -> None:
    """Refuse the key until it is enabled again. Raises `KeyChangeError` if it is revoked."""
    now = timezone.now()
    with transaction.atomic():
        _set_unless_revoked(key, disabled_at=now, disabled_by=by.name[:200], disabled_reason=reason[:200])
        record(EventKind.DISABLED, key=key, by=by, at=now, reason=reason)


def enable(*, key: APIKey, reason: str = "", by: Actor = SYSTEM) -> None:
    """Undo `disable`. Raises `KeyChangeError` if the key is revoked."""
    with transaction.atomic():
        _set_unless_revoked(key, disabled_at=None, disabled_by="", disabled_reason="")
        record(EventKind.ENABLED, key=key, by=by, reason=reason)


def revoke(*, key: APIKey, reason: str = "", by: Actor = SYSTEM) -> None:
    """Refuse the key permanently. Raises `KeyChangeError` if it is already revoked."""
    now = timezone.now()
    with transaction.atomic():
        _set_unless_revoked(key, revoked_at=now, revoked_by=by.name[:200], revoked_reason=reason[:200])
        record(EventKind.REVOKED, key=key, by=by, at=now, reason=reason)


@contextmanager
def _refused_if_invalid() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise KeyChangeError(str(error)) from error


@contextmanager
def _refused_if_name_in_use(name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise KeyChangeError(f"Another key already has the name “{name}”.") from error


def _save_with_secret(*, key: APIKey, plaintext: str, by: Actor) -> IssuedSecret:
    with transaction.atomic():
        key.save(force_insert=True)
        issued = _add_secret(key=key, plaintext=plaintext, now=key.created_at)
        record(EventKind.CREATED, key=key, secret=issued.secret, by=by, at=key.created_at)
        return issued


def _add_secret(
    *, key: APIKey, plaintext: str, now: datetime, made_with: APIKeySecret | None = None
) -> IssuedSecret:
    secret = APIKeySecret.objects.create(
        key=key,
        digest=tokens.digest(plaintext),
        prefix=tokens.display_prefix(plaintext),
        created_at=now,
        made_with=made_with,
    )
    return IssuedSecret(key=key, secret=secret, plaintext=plaintext)


def _refuse_in(key: APIKey, state: KeyState, reason: str, now: datetime) -> None:
    if key.state_at(now) is state:
        raise KeyChangeError(reason)


def _set_unless_revoked(key: APIKey, **fields: datetime | str | None) -> None:
    if not APIKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(**fields):
        raise KeyChangeError(REVOKED_STAYS)
    key.refresh_from_db()


def _end(secret: APIKeySecret, now: datetime, **also: datetime) -> bool:
    """End the secret now; False if it has already ended."""
    return bool(APIKeySecret.objects.filter(pk=secret.pk).live(now).update(expires_at=now, **also))


def _values(key: APIKey, fields: Collection[str]) -> dict[str, Any]:
    return {field: getattr(key, field) for field in fields}


def _as_json(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()
    }
