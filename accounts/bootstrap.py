"""What a fresh database needs before anyone can use the service: a first API key and an admin account.

Safe to call at every start and by several processes at once: what exists already is left as it is.
"""

import secrets
from dataclasses import dataclass, field
from typing import Self

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from accounts import authentication, services
from accounts.models import APIKey

GENERATED_ADMIN = "admin"


class BootstrapError(Exception):
    """The settings cannot be used; the message is one sentence that tells the operator what to do."""


@dataclass(frozen=True, kw_only=True)
class Superuser:
    """An admin account to create."""

    username: str
    password: str = field(repr=False)
    email: str = ""

    @classmethod
    def configured(cls) -> Self | None:
        """The account in the settings `DJANGO_SUPERUSER_*`; None if they contain no username."""
        if not settings.DJANGO_SUPERUSER_USERNAME:
            return None
        return cls(
            username=settings.DJANGO_SUPERUSER_USERNAME,
            password=settings.DJANGO_SUPERUSER_PASSWORD,
            email=settings.DJANGO_SUPERUSER_EMAIL,
        )


@dataclass(frozen=True, kw_only=True)
class Bootstrapped:
    """What `bootstrap` created, and whether the operator's key works.

    Attributes:
        key: the first API key; None if it was not created now.
        key_works: whether a request with `api_key` is accepted now.
        admin: the username of the account that was created; None if none was.
        password: the generated password of that account, which cannot be shown again; None if the operator
            chose it.
    """

    key: APIKey | None
    key_works: bool
    admin: str | None
    password: str | None = field(repr=False)


def bootstrap(*, api_key: str, superuser: Superuser | None, generate_password: bool) -> Bootstrapped:
    """Create the first API key and an admin account where they are missing: both or, on an error, neither.

    Args:
        api_key: the secret of the first key, which is created if the database holds no key at all, revoked
            ones included; empty for none.
        superuser: the account to create if no account has its username.
        generate_password: whether to create the account `admin` with a random password if there is no
            superuser at all.

    Raises:
        BootstrapError: `api_key` cannot be a key's secret, `superuser` has no password, or `admin` is an
            ordinary account.
    """
    admin = password = None
    with transaction.atomic():
        key = _first_key(api_key) if api_key else None
        if superuser is not None and _create_superuser(superuser):
            admin = superuser.username
        elif generate_password and not _has_superuser():
            generated = Superuser(username=GENERATED_ADMIN, password=secrets.token_urlsafe(15))
            if _create_superuser(generated):
                admin, password = generated.username, generated.password
            elif not _has_superuser():
                raise BootstrapError(
                    f"There is no superuser, and the account “{GENERATED_ADMIN}” is an ordinary one: "
                    "create a superuser with `manage.py createsuperuser`."
                )
    key_works = authentication.is_accepted(api_key)
    return Bootstrapped(key=key, key_works=key_works, admin=admin, password=password)


def _first_key(secret: str) -> APIKey | None:
    try:
        return services.create_first_key(secret=secret)
    except ValueError as error:
        raise BootstrapError(
            "API_KEY cannot be used as a key: choose up to 256 visible ASCII characters without spaces "
            "that do not start with “llms_”."
        ) from error


def _has_superuser() -> bool:
    return User.objects.filter(is_superuser=True).exists()


def _create_superuser(account: Superuser) -> bool:
    """Create the account; False if its username is taken, even by a concurrent process."""
    if User.objects.filter(username=account.username).exists():
        return False
    if not account.password:
        raise BootstrapError(
            "DJANGO_SUPERUSER_USERNAME is set without DJANGO_SUPERUSER_PASSWORD: set both or neither."
        )
    try:
        with transaction.atomic():
            User.objects.create_superuser(account.username, email=account.email, password=account.password)
    except IntegrityError:
        return False
    return True
