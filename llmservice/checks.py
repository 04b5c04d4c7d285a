"""Warnings about settings that are fine on one's own machine and not where others can reach the service.

Django's `check` command shows them, and so does the server at its start.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register

from llmservice.environment import DEFAULT_API_KEY


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a service that listens on `host`."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@register(Tags.security)
def open_to_others(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Warnings for a service that others than this machine can reach."""
    return [] if is_loopback(settings.HOST) else list(_warnings(f"HOST is {settings.HOST}"))


@register(Tags.security, deploy=True)
def deployed(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The same warnings under `check --deploy`, whatever HOST is: a proxy may stand before a loopback."""
    return list(_warnings("this is a deployment")) if is_loopback(settings.HOST) else []


def _warnings(why: str) -> Iterator[CheckMessage]:
    if settings.DEBUG:
        yield Warning(
            f"DEBUG is on and {why}: unset it, its error pages show code and settings.", id="llmservice.W001"
        )
    if settings.API_KEY == DEFAULT_API_KEY:
        yield Warning(
            f"API_KEY is the well-known default and {why}: set another one, or revoke that key in the admin.",
            id="llmservice.W002",
        )
