"""Refusing a part of a field by its path."""

from typing import Any, NoReturn

from rest_framework import serializers


def refuse(*path: str | int, reason: str) -> NoReturn:
    """Refuse what stands at `path` within the field.

    Raises:
        ValidationError: always; the reason, under each name and index of the path.
    """
    errors: Any = [reason]
    for name in reversed(path):
        errors = {name: errors}
    raise serializers.ValidationError(errors)
