"""How the admin's pages show the states of keys, times, numbers and events."""

import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

from accounts.conditions import Condition
from accounts.key_fields import LIMITS
from accounts.models import APIKey, KeyEvent

register = template.Library()


@register.filter
def state_badge(key: APIKey) -> SafeString:
    state = key.state
    return format_html('<span class="key-state key-state-{}">{}</span>', state.value, state.label)


@register.filter
def condition_tag(condition: Condition) -> SafeString:
    return format_html('<span class="key-tag key-tag-{}">{}</span>', condition.value, condition.label)


@register.filter
def event_badge(event: KeyEvent) -> SafeString:
    return format_html('<span class="key-event key-event-{}">{}</span>', event.kind, event.get_kind_display())


@register.filter
def event_details(event: KeyEvent) -> str:
    """The details of an event as one line of text."""
    return "; ".join(_details(event.details))


def _details(details: dict[str, Any]) -> Iterator[str]:
    # Sorted, with the reason last, because PostgreSQL does not keep the order of JSON objects.
    before = details.get("before", {})
    for name, value in sorted(details.items(), key=lambda detail: (detail[0] == "reason", detail[0])):
        if name == "grace_s":
            yield f"grace period of {duration(timedelta(seconds=value))}" if value else "no grace period"
        elif name == "reason":
            yield f"“{value}”"
        elif name in ("limits", "fields"):
            yield from (_change(field, before, new) for field, new in sorted(value.items()))
        elif name != "before":
            yield f"{_words(name)}: {_detail(name, value)}"


def _change(field: str, before: dict[str, Any], new: Any) -> str:
    """The old and the new value of a field; the events of earlier versions have only the new one."""
    old = f"{_detail(field, before[field])} → " if field in before else ""
    return f"{_words(field)}: {old}{_detail(field, new)}"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _detail(field: str, value: Any) -> str:
    if field in LIMITS:
        return limit(field, value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or ("all" if field == "allowed_networks" else "none")
    if field == "expires_at":
        return "never" if value is None else exact(datetime.fromisoformat(value))
    return "none" if value in (None, "") else str(value)


def limit(name: str, value: int | None) -> str:
    """The stored value of a limit in words: None is the service's default, 0 is no limit."""
    if value is None:
        return "default"
    return f"{value:,}" if value else ("as many as per minute" if name == "burst" else "unlimited")


def exact(moment: datetime) -> str:
    """A time to the second with its zone: `2026-11-25 13:40:05 UTC`."""
    return f"{timezone.localtime(moment):%Y-%m-%d %H:%M:%S %Z}"


def duration(length: timedelta) -> str:
    """A length of time in the largest unit that divides it: `36 hours`, `7 days`."""
    seconds = int(length.total_seconds())
    for unit_s, unit in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % unit_s == 0:
            count = seconds // unit_s
            return f"{count} {unit}" if count == 1 else f"{count} {unit}s"
    raise AssertionError("one second divides every whole number of seconds")


@register.filter
def ago(moment: datetime | None) -> SafeString:
    """A past time relative to now (`5 minutes ago`), with the exact time as a tooltip."""
    if moment is None:
        return format_html('<span class="key-quiet">{}</span>', "never")
    now = timezone.now()
    if (now - moment).total_seconds() < 60:
        return _time(moment, "just now")
    return _time(moment, f"{timesince(moment, now, depth=1)} ago")


@register.filter
def left(moment: datetime) -> SafeString:
    """A future time relative to now (`in 2 hours`), with the exact time as a tooltip."""
    # `timeuntil` rounds down: without the added minute, a new grace period of 24 hours would read 23 hours.
    return _time(moment, f"in {timeuntil(moment + timedelta(seconds=59), timezone.now(), depth=2)}")


@register.filter
def number(value: int) -> str:
    """A whole number with thousands separators."""
    return f"{value:,}"


@register.filter
def percent(value: float) -> str:
    """A percentage without decimals, unless rounding would turn it into 0 or 100."""
    if 0 < value < 1:
        return "<1%"
    if 99 < value < 100:
        return f"{math.floor(value * 10) / 10:.1f}%"
    return f"{value:.0f}%"


@register.filter
def compact(value: float) -> str:
    """A number in at most four characters and a suffix: `950`, `1.2k`, `35k`, `1.5M`."""
    for unit, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        # A number that would round up to 1000 of a unit is shown as 1 of the next.
        if value >= 0.9995 * unit:
            number = value / unit
            return f"{number:.3g}{suffix}" if number < 999.5 else f"{number:.0f}{suffix}"
    return f"{value:g}"


@register.filter
def milliseconds(value: float) -> str:
    """A length of time in three digits: `85 ms`, `1.24 s`, `164 s`."""
    return (
        f"{value:.0f}\N{NO-BREAK SPACE}ms" if value < 999.5 else f"{_three(value / 1000)}\N{NO-BREAK SPACE}s"
    )


def _three(value: float) -> str:
    return f"{value:.{max(0, 2 - int(math.log10(value)))}f}"


def _time(moment: datetime, words: str) -> SafeString:
    iso = timezone.localtime(moment).isoformat()
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, exact(moment), words)
