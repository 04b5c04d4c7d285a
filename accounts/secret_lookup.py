"""Finds a secret by its plaintext, which the database does not hold."""

from accounts import tokens
from accounts.models import APIKeySecret


def find_secret(plaintext: str) -> APIKeySecret | None:
    """Return the secret with this plaintext, with its key, in any state; None if there is none."""
    if not tokens.is_acceptable(plaintext):
        return None
    try:
        return APIKeySecret.objects.select_related("key").get(digest=tokens.digest(plaintext))
    except APIKeySecret.DoesNotExist:
        return None
