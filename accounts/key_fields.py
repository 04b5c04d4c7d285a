"""Checks of a key's limits and scopes that the database does not make."""

from collections.abc import Collection, Mapping

from accounts.models import Scope
from accounts.models.key import MAX_LIMIT, MAX_TOKENS_PER_DAY

LIMITS = ("requests_per_minute", "burst", "tokens_per_day", "max_concurrent", "max_tokens")


def checked_limits(limits: Mapping[str, int | None]) -> dict[str, int | None]:
    """Return the limits as they are stored: None for the default from the settings, 0 for unlimited.

    Raises `ValueError`, naming the limit, if it does not exist or is out of range.
    """
    for name, value in limits.items():
        if name not in LIMITS:
            raise ValueError(f"There is no limit “{name}”; the limits are {', '.join(LIMITS)}.")
        highest = MAX_TOKENS_PER_DAY if name == "tokens_per_day" else MAX_LIMIT
        if value is not None and not 0 <= value <= highest:
            raise ValueError(f"The limit {name} must be from 0 to {highest}, not {value}.")
    return dict(limits)


def checked_scopes(scopes: Collection[str]) -> list[str]:
    """Return the scopes in their canonical order. Raises `ValueError`, naming one that does not exist."""
    if unknown := set(scopes) - set(Scope.values):
        raise ValueError(f"There is no scope “{min(unknown)}”; the scopes are {', '.join(Scope.values)}.")
    return [scope for scope in Scope.values if scope in scopes]
