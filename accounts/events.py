"""Recording what happens to keys: who did it, and from where."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from django.contrib.auth.models import User
from django.http import HttpRequest
from django.utils import timezone
from rest_framework.request import Request

from accounts.models import APIKey, APIKeySecret, EventKind, KeyEvent
from llmservice.http import networks


@dataclass(frozen=True, kw_only=True)
class Actor:
    """Who changes or uses a key; `user` is the admin account, if it is one."""

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
        """The holder of this secret."""
        return cls(name=f"the holder of {secret}", address=address)


SYSTEM = Actor(name="the service")


def address_of(request: HttpRequest | Request) -> str | None:
    """The address that the request came from; None on a Unix socket."""
    return networks.canonical(request.META.get("REMOTE_ADDR"))


def record(
    kind: EventKind,
    *,
    key: APIKey,
    by: Actor,
    secret: APIKeySecret | None = None,
    at: datetime | None = None,
    **details: Any,
) -> None:
    """Record an event, in the same transaction as the change it records, so that neither exists alone.

    `details` must be serialisable as JSON and contain no plaintext of a secret; empty values are left out.
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
