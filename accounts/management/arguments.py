"""What the commands on keys share: how a key, a duration and a date are named, and who it is that acts."""

import getpass
import re
from argparse import ArgumentTypeError
from datetime import UTC, date, datetime, timedelta

from django.core.management.base import CommandError

from accounts.events import Actor
from accounts.models import APIKey

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=3650)


def find_key(name: str) -> APIKey:
    """The key of this name that is in use, or the one with this number. Raises CommandError for none."""
    named = APIKey.objects.filter(name=name).order_by("revoked_at")
    key = named.filter(revoked_at__isnull=True).first() or named.last()
    if key is None and name.isdecimal():
        key = APIKey.objects.filter(pk=int(name[:18])).first()
    if key is None:
        raise CommandError(f"There is no key “{name}”: `manage.py list_keys` shows them all.")
    return key


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `24h` or `7d`; `0` is none at all."""
    if text == "0":
        return timedelta(0)
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is no duration such as 30m, 24h or 7d")
    length = timedelta(**{UNITS[match[2]]: int(match[1])})
    if length > LONGEST:
        raise ArgumentTypeError(f"{text!r} is longer than ten years")
    return length


def day(text: str) -> date:
    """A day as ISO 8601 writes it."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no date such as 2026-01-31") from None


def moment(text: str) -> datetime:
    """A time, or the start of a day, as ISO 8601 writes it; in UTC where it names no zone."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is no time such as 2026-01-31 or 2026-01-31T12:00:00Z") from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def limit(text: str) -> int | None:
    """A limit: a number, `unlimited`, or `default` for that of the settings."""
    if text == "default":
        return None
    if text == "unlimited":
        return 0
    if not text.isdecimal() or int(text[:19]) == 0:
        raise ArgumentTypeError(f"{text!r} is no number above 0, and neither “unlimited” nor “default”")
    return int(text[:19])


def operator() -> Actor:
    """Whoever runs the command."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # An account without a name, as containers have it.
        user = "somebody"
    return Actor(name=f"{user} on the command line")
