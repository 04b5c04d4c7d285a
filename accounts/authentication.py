"""Authentication by the `X-API-Key` header, which is looked up in the database with every request.

Nothing is cached, so disabling or revoking a key takes effect with the next request.
"""

from datetime import datetime

from django.utils import timezone
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from accounts import secret_use, services, tokens
from accounts.events import address_of
from accounts.limits import attempts
from accounts.limits.attempts import Purpose
from accounts.models import APIKey, APIKeySecret, KeyState
from llmservice.http import networks, request_record

HEADER = "X-API-Key"

MISSING = f"Missing API key: send it in the {HEADER} header."
# One message for every kind of wrong key, so that it does not reveal how close a guess came.
INVALID = "Invalid API key."
REFUSED_STATES = {
    KeyState.REVOKED: "This API key has been revoked.",
    KeyState.EXPIRED: "This API key has expired.",
    KeyState.DISABLED: "This API key is disabled.",
}
REPLACED = "This secret has expired: a newer secret of this API key has replaced it."
LEAKED = "This secret has been revoked because it was reported as leaked."


class APIKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to the `APIKey` and `request.auth` to the `APIKeySecret` that was sent.

    Without `authenticate_header`, Django REST framework answers a refusal with status 403, not 401.
    """

    def authenticate(self, request: Request) -> tuple[APIKey, APIKeySecret]:
        plaintext = request.headers.get(HEADER)
        if plaintext is None:
            raise AuthenticationFailed(MISSING)
        secret = services.find_secret(plaintext)
        address = address_of(request)
        if secret is None:
            # Text that cannot be a secret is no guess: it needs no query and is not counted.
            if tokens.is_acceptable(plaintext):
                attempts.count(Purpose.AUTHENTICATION, address)
            raise AuthenticationFailed(INVALID)
        if (record := request_record.current()) is not None:
            record.key_id = secret.key_id
        now = timezone.now()
        if (reason := refusal(secret, now)) is not None:
            if secret.key.state_at(now) in {KeyState.ACTIVE, KeyState.EXPIRED}:
                secret_use.record_refusal(secret=secret, now=now, address=address)
            raise AuthenticationFailed(reason)
        if not networks.contain(secret.key.allowed_networks, address):
            raise AuthenticationFailed(f"This API key may not be used from the address {address}.")
        secret_use.record_use(secret=secret, now=now, address=address)
        return secret.key, secret


def is_accepted(plaintext: str) -> bool:
    """Whether a request with this secret would be accepted now; does not count as a use."""
    secret = services.find_secret(plaintext)
    return secret is not None and refusal(secret, timezone.now()) is None


def refusal(secret: APIKeySecret, now: datetime) -> str | None:
    """Return why this secret is refused at `now`, as a message for its holder; None if it is accepted."""
    if (reason := REFUSED_STATES.get(secret.key.state_at(now))) is not None:
        return reason
    if secret.is_live_at(now):
        return None
    return REPLACED if secret.revoked_at is None else LEAKED
