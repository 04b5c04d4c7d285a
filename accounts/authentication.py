"""Authentication by the `X-API-Key` header, which is looked up in the database with every request.

Nothing is cached, so disabling or revoking a key takes effect with the next request.
"""

from datetime import datetime

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts import codes, secret_use, tokens
from accounts.events import address_of
from accounts.limits import attempts
from accounts.limits.attempts import Purpose
from accounts.models import APIKey, APIKeySecret, KeyState
from accounts.secret_lookup import find_secret
from llmservice.http import networks, request_record
from llmservice.http.codes import Code

HEADER = "X-API-Key"

MISSING = f"Missing API key: send it in the {HEADER} header."
BEARER = f"Missing API key: send it in the {HEADER} header, not as Authorization: Bearer."
MISSING_BEARER = f"Missing API key: send it as Authorization: Bearer, or in the {HEADER} header."
# One message for every kind of wrong key, so that it does not reveal how close a guess came.
INVALID = "Invalid API key."
REFUSED_STATES = {
    KeyState.REVOKED: (codes.KEY_REVOKED, "This API key has been revoked."),
    KeyState.EXPIRED: (codes.KEY_EXPIRED, "This API key has expired."),
    KeyState.DISABLED: (codes.KEY_DISABLED, "This API key is disabled."),
}
REPLACED = "This secret has expired: a newer secret of this API key has replaced it."
LEAKED = "This secret has been revoked because it was reported as leaked."


class KeyRefused(AuthenticationFailed):
    """The request may not be sent with this secret; the text says why to whoever sent it."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail, code.name)


class APIKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to the `APIKey` and `request.auth` to the `APIKeySecret` that was sent.

    Without `authenticate_header`, Django REST framework answers a refusal with status 403, not 401.
    """

    def authenticate(self, request: Request) -> tuple[APIKey, APIKeySecret]:
        plaintext = self._plaintext(request)
        if plaintext is None:
            raise KeyRefused(codes.KEY_MISSING, self._missing_text(request))
        secret = find_secret(plaintext)
        address = address_of(request)
        if secret is None:
            # Text that cannot be a secret is no guess: it needs no query and is not counted.
            if tokens.is_acceptable(plaintext):
                attempts.count(Purpose.AUTHENTICATION, address)
            raise KeyRefused(codes.KEY_INVALID, INVALID)
        if (record := request_record.current()) is not None:
            record.key_id = secret.key_id
        now = timezone.now()
        if (refused := refusal(secret, now)) is not None:
            if secret.key.state_at(now) in {KeyState.ACTIVE, KeyState.EXPIRED}:
                secret_use.record_refusal(secret=secret, now=now, address=address)
            raise refused
        if not networks.contain(secret.key.allowed_networks, address):
            raise KeyRefused(
                codes.ADDRESS_NOT_ALLOWED, f"This API key may not be used from the address {address}."
            )
        secret_use.record_use(secret=secret, now=now, address=address)
        return secret.key, secret

    def _plaintext(self, request: Request) -> str | None:
        return request.headers.get(HEADER)

    def _missing_text(self, request: Request) -> str:
        return MISSING if _bearer(request) is None else BEARER


class BearerAuthentication(APIKeyAuthentication):
    """Takes the key from `Authorization: Bearer` as well, and refuses with status 401."""

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"

    def _plaintext(self, request: Request) -> str | None:
        return _bearer(request) or super()._plaintext(request)

    def _missing_text(self, request: Request) -> str:
        return MISSING_BEARER


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def is_accepted(plaintext: str) -> bool:
    """Whether a request with this secret would be accepted now; does not count as a use."""
    secret = find_secret(plaintext)
    return secret is not None and refusal(secret, timezone.now()) is None


def refusal(secret: APIKeySecret, now: datetime) -> KeyRefused | None:
    """Return why this secret is refused at `now`; None if it is accepted."""
    if (refused := REFUSED_STATES.get(secret.key.state_at(now))) is not None:
        return KeyRefused(*refused)
    if secret.is_live_at(now):
        return None
    if secret.revoked_at is None:
        return KeyRefused(codes.SECRET_EXPIRED, REPLACED)
    return KeyRefused(codes.SECRET_REVOKED, LEAKED)
