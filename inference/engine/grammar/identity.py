"""When JSON values are equal."""

from collections.abc import Hashable
from typing import Any


def identity(value: Any) -> Hashable:
    """What two JSON values have in common exactly if they are equal."""
    if isinstance(value, bool):
        return ("boolean", value)
    if isinstance(value, list):
        return ("array", *map(identity, value))
    if isinstance(value, dict):
        return ("object", frozenset((name, identity(one)) for name, one in value.items()))
    return value  # type: ignore[no-any-return]
