"""Writing down what happens to keys: who did it, and from where."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from accounts.models import APIKey, APIKeySecret, EventKind, KeyEvent


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who does something to a key; `user` is the account, where it is one of the admin."""

    name: str
    address: str | None = None
    user: User | None = None

    @classmethod
    def account(cls, request: HttpRequest) -> Self:
        """The signed-in account behind a request to the admin."""
        assert isinstance(request.user, User)  # noqa: S101
        return cls(name=request.user.get_username(), address=address_of(request), user=request.user)

    @classmethod
    def holder(cls, secret: APIKeySecret, *, address: str | None) -> Self:
        """Whoever holds this secret."""
        return cls(name=f"the holder of {secret}", address=address)


SYSTEM = Actor(name="the service")


def address_of(request: HttpRequest | Request) -> str | None:
    """The address that the request came from; None on a socket that has none."""
    return request.META.get("REMOTE_ADDR") or None


def record(
    kind: EventKind,
    *,
    key: APIKey,
    by: Actor,
    secret: APIKeySecret | None = None,
    at: datetime | None = None,
    **details: Any,
) -> None:
    """Write an event, in the transaction of what it tells: there is never one without the other.

    `details` has to be JSON and to hold no plaintext; what is empty is left out.
    """
    KeyEvent.objects.create(
        kind=kind,
        key=key,
        secret=secret,
        at=at or timezone.now(),
        actor=by.name[:200],
        address=by.address,
        details={name: value for name, value in details.items() if value not in ("", None)},
    )
