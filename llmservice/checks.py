"""Warnings about settings with which the service starts, but is open to others or slow.

Django's `check` command shows them, and the server logs them at its start.
"""

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register

from inference.engine.config import usable_cpus
from llmservice.environment import DEFAULT_API_KEY


def is_loopback(host: str) -> bool:
    """Whether a service that listens on `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


@register(Tags.security)
def reachable_by_others(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The warnings for a service that other machines can reach."""
    return [] if is_loopback(settings.HOST) else list(_warnings(f"HOST is {settings.HOST}"))


@register(Tags.security, deploy=True)
def deployed(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """The same warnings for `check --deploy`, whatever HOST is: a proxy may forward to a loopback address."""
    return list(_warnings("this is a deployment")) if is_loopback(settings.HOST) else []


@register()
def more_threads_than_cpus(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """A warning, not an error: a container's CPUs can change while its settings stay."""
    cpus = usable_cpus()
    if cpus >= settings.LLM_THREADS:
        return []
    return [
        Warning(
            f"LLM_THREADS is {settings.LLM_THREADS}, but this process may use only {cpus} CPUs: set it to at "
            f"most {cpus}, or to 0 for all of them, because threads that share a CPU slow each other down.",
            id="llmservice.W003",
        )
    ]


def _warnings(why: str) -> Iterator[CheckMessage]:
    if settings.DEBUG:
        yield Warning(
            f"DEBUG is on and {why}: unset DEBUG, because its error pages show code and settings.",
            id="llmservice.W001",
        )
    if settings.API_KEY == DEFAULT_API_KEY:
        yield Warning(
            f"API_KEY is the well-known default and {why}: set another key, or revoke this one in the admin.",
            id="llmservice.W002",
        )
