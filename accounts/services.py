"""All that can happen to an API key. Whoever changes a key, calls one of these functions.

Each writes its `KeyEvent` in the same transaction, with `by` as the one who did it.

Each is a transaction of its own and starts it with a conditional UPDATE (or an INSERT under a unique
constraint), so it holds against a second one at the same moment on SQLite and on PostgreSQL alike.
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
from accounts.models import APIKey, APIKeySecret, EventKind, KeyState, Scope
from accounts.models.key import MAX_LIMIT, MAX_TOKENS_PER_DAY
from llmservice.http import networks

FIRST_KEY_NAME = "default"
MAX_LIVE_SECRETS = 2
LIMITS = ("requests_per_minute", "burst", "tokens_per_day", "max_concurrent")
REVOKED_STAYS = "A revoked key stays revoked: create a new one."


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
    limits: Mapping[str, int | None] | None = None,
    allowed_networks: Collection[str] = (),
    scopes: Collection[str] = tuple(Scope),
    by: Actor = SYSTEM,
) -> IssuedSecret:
    """Make a key with its first secret.

    `limits` are those of `set_limits`; the rest is left to the settings. Raises `KeyChangeError` if a key in
    use has this name, or for limits, networks or scopes that are none.
    """
    key = APIKey(
        name=name,
        owner=owner,
        note=note,
        expires_at=expires_at,
        created_by=by.user,
        allowed_networks=_networks(allowed_networks),
        scopes=_scopes(scopes),
        **_limits(limits or {}),
    )
    with _name_in_use_refused(name):
        return _save_with_secret(key=key, plaintext=tokens.generate(), by=by)


def describe(*, key: APIKey, fields: Collection[str], by: Actor = SYSTEM) -> None:
    """Save these fields of the key, and no other, so that what happened to it meanwhile stays.

    Raises `KeyChangeError` if a key in use has its name, or for networks or scopes that are none.
    """
    if not fields:
        return
    key.allowed_networks, key.scopes = _networks(key.allowed_networks), _scopes(key.scopes)
    with _name_in_use_refused(key.name), transaction.atomic():
        key.save(update_fields=fields)
        if limits := [field for field in fields if field in LIMITS]:
            record(EventKind.LIMITS_CHANGED, key=key, by=by, limits=_told(key, limits))
        if others := [field for field in fields if field not in LIMITS]:
            record(EventKind.CHANGED, key=key, by=by, fields=_told(key, others))


def set_limits(*, key: APIKey, limits: Mapping[str, int | None], by: Actor = SYSTEM) -> None:
    """Set these of the key's limits (`LIMITS`): None is the default of the settings, 0 is unlimited.

    Raises `KeyChangeError` for a limit that does not exist or is out of bounds.
    """
    values = _limits(limits)
    for name, value in values.items():
        setattr(key, name, value)
    describe(key=key, fields=list(values), by=by)


def create_first_key(*, secret: str) -> APIKey | None:
    """Create the key of a fresh database, with a secret that the operator chose.

    Returns None if the database already holds a key, even one that another process creates at this moment.
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
    """Give the key a new secret; what it had stays good for `grace`, or is dead at once if that is zero.

    `made_with` is the secret by which its holder asked for the new one, where it was not an administrator.
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
        _refuse_in(key, KeyState.REVOKED, REVOKED_STAYS, now)
        _refuse_in(key, KeyState.EXPIRED, "This key has expired: give it a later expiry first.", now)
        live = APIKeySecret.objects.filter(key=key).live(now)
        if grace and live.count() >= MAX_LIVE_SECRETS:
            raise KeyChangeError(
                "Two secrets of this key are live already: wait for the end of the older one's grace, "
                "or rotate without a grace, which ends both at once."
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
    """End the grace of the key's old secret now. Raises `KeyChangeError` if it has none in grace."""
    now = timezone.now()
    with transaction.atomic():
        in_grace = list(APIKeySecret.objects.filter(key=key, expires_at__isnull=False).live(now))
        ended = [secret for secret in in_grace if _end(secret, now)]
        if not ended:
            raise KeyChangeError("No secret of this key is in its grace.")
        for secret in ended:
            record(EventKind.GRACE_ENDED, key=key, secret=secret, by=by, at=now, reason=reason)


def revoke_secret(*, secret: APIKeySecret, reason: str = "", by: Actor = SYSTEM) -> None:
    """End a secret that has leaked at once, and with it the newer ones that its holder made with it.

    The key keeps the secrets that an administrator gave it. Nothing happens to a secret that is dead already,
    but what was made with it dies all the same.
    """
    now = timezone.now()
    with transaction.atomic():
        # A rotation that waits for this one has then seen another key, and is refused.
        APIKey.objects.filter(pk=secret.key_id).update(rotations=F("rotations") + 1)
        family = [secret]
        for parent in family:
            family.extend(parent.made.all())
        for member in family:
            if _end(member, now, revoked_at=now):
                record(EventKind.SECRET_REVOKED, key=secret.key, secret=member, by=by, at=now, reason=reason)


def disable(*, key: APIKey, reason: str = "", by: Actor = SYSTEM) -> None:
    """Refuse the key until `enable`. Raises `KeyChangeError` if it is revoked."""
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
    """Refuse the key for good. Raises `KeyChangeError` if it is revoked already."""
    now = timezone.now()
    with transaction.atomic():
        _set_unless_revoked(key, revoked_at=now, revoked_by=by.name[:200], revoked_reason=reason[:200])
        record(EventKind.REVOKED, key=key, by=by, at=now, reason=reason)


def find_secret(plaintext: str) -> APIKeySecret | None:
    """Return the secret that this is, with its key, in whatever state; None if it is not one of ours."""
    if not tokens.is_acceptable(plaintext):
        return None
    try:
        return APIKeySecret.objects.select_related("key").get(digest=tokens.digest(plaintext))
    except APIKeySecret.DoesNotExist:
        return None


@contextmanager
def _name_in_use_refused(name: str) -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise KeyChangeError(f"A key named “{name}” is in use already.") from error


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
    """End the secret now; False if it has ended already."""
    return bool(APIKeySecret.objects.filter(pk=secret.pk).live(now).update(expires_at=now, **also))


def _networks(texts: Collection[str]) -> list[str]:
    try:
        return networks.parse(texts)
    except ValueError as error:
        raise KeyChangeError(str(error)) from error


def _scopes(scopes: Collection[str]) -> list[str]:
    if unknown := set(scopes) - set(Scope.values):
        raise KeyChangeError(f"There is no scope “{min(unknown)}”, only {' and '.join(Scope.values)}.")
    return [scope for scope in Scope.values if scope in scopes]


def _limits(limits: Mapping[str, int | None]) -> dict[str, int | None]:
    for name, value in limits.items():
        if name not in LIMITS:
            raise KeyChangeError(f"There is no limit “{name}”, only {', '.join(LIMITS)}.")
        highest = MAX_TOKENS_PER_DAY if name == "tokens_per_day" else MAX_LIMIT
        if value is not None and not 0 <= value <= highest:
            raise KeyChangeError(f"The limit {name} must be from 0 to {highest}, not {value}.")
    return dict(limits)


def _told(key: APIKey, fields: Collection[str]) -> dict[str, Any]:
    """The values of these fields as an event keeps them."""
    values = {field: getattr(key, field) for field in fields}
    return {
        field: value.isoformat() if isinstance(value, datetime) else value for field, value in values.items()
    }
