"""How the pages on API keys show a state and a time."""

from datetime import datetime, timedelta

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince, timeuntil

from accounts.models import APIKey

register = template.Library()


@register.filter
def state_badge(key: APIKey) -> SafeString:
    state = key.state
    return format_html('<span class="key-state key-state-{}">{}</span>', state.value, state.label)


@register.filter
def ago(moment: datetime | None) -> SafeString:
    """A past time as people say it, with the exact one under the pointer."""
    if moment is None:
        return format_html('<span class="key-quiet">{}</span>', "never")
    now = timezone.now()
    if (now - moment).total_seconds() < 60:
        return _time(moment, "just now")
    return _time(moment, f"{timesince(moment, now, depth=1)} ago")


@register.filter
def left(moment: datetime) -> SafeString:
    """A time to come as how long it is until then, with the exact one under the pointer."""
    # `timeuntil` rounds down, which would call 24 hours "23 hours" a moment after they were granted.
    return _time(moment, f"in {timeuntil(moment + timedelta(seconds=59), timezone.now(), depth=2)}")


def _time(moment: datetime, words: str) -> SafeString:
    exact = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>', exact.isoformat(), f"{exact:%Y-%m-%d %H:%M:%S %Z}", words
    )
