"""Arguments that the commands on keys share, and the actor that their events record."""

import getpass
import re
from argparse import SUPPRESS, ArgumentTypeError
from datetime import UTC, date, datetime, timedelta

from django.core.management.base import CommandError, CommandParser

from accounts.events import Actor
from accounts.key_fields import LIMITS
from accounts.models import APIKey, Prompts, Scope

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=3650)


def find_key(name: str) -> APIKey:
    """Return the key with this name or number, preferring names and keys that are not revoked.

    Raises `CommandError` if there is none.
    """
    named = APIKey.objects.filter(name=name).order_by("revoked_at")
    key = named.filter(revoked_at__isnull=True).first() or named.last()
    if key is None and name.isdecimal():
        key = APIKey.objects.filter(pk=int(name[:18])).first()
    if key is None:
        raise CommandError(f"There is no key “{name}”: `manage.py list_keys` lists all keys.")
    return key


def duration(text: str) -> timedelta:
    """Parse a duration: `90s`, `30m`, `24h`, `7d`, or `0`."""
    if text == "0":
        return timedelta(0)
    match = re.fullmatch(r"(\d{1,9})([smhd])", text)
    if match is None:
        raise ArgumentTypeError(f"{text!r} is not a duration such as 30m, 24h or 7d")
    length = timedelta(**{UNITS[match[2]]: int(match[1])})
    if length > LONGEST:
        raise ArgumentTypeError(f"{text!r} is longer than ten years")
    return length


def day(text: str) -> date:
    """Parse an ISO 8601 date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a date such as 2026-01-31") from None


def moment(text: str) -> datetime:
    """Parse an ISO 8601 time, or a date as the start of the day; UTC unless it has a time zone."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(
            f"{text!r} is not a time such as 2026-01-31 or 2026-01-31T12:00:00Z"
        ) from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def limit(text: str) -> int | None:
    """Parse a limit: a number, `unlimited`, or `default` for the default from the settings."""
    if text == "default":
        return None
    if text == "unlimited":
        return 0
    if not text.isdecimal() or int(text[:19]) == 0:
        raise ArgumentTypeError(f"{text!r} is not a positive whole number, “unlimited” or “default”")
    return int(text[:19])


def count(text: str) -> int:
    """Parse a number of things to list, at least one."""
    if not text.isdecimal() or int(text[:9]) == 0:
        raise ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text[:9])


def add_limits(parser: CommandParser) -> None:
    """Add an option for each limit. One that is not given is not in the command's options."""
    for name in LIMITS:
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=limit, default=SUPPRESS, help="a number, “unlimited” or “default”")


def add_scopes(parser: CommandParser, *, required: bool = False, help: str) -> None:
    """Add the option `--scope`, which may be repeated; its values are in `options["scope"]`."""
    parser.add_argument("--scope", action="append", choices=Scope.values, required=required, help=help)


def add_prompts(parser: CommandParser, *flags: str) -> None:
    """Add the argument for whether a key's prompts are kept; its value is in `options["prompts"]`."""
    parser.add_argument(
        *flags,
        choices=Prompts.values,
        help="“kept”: prompts are logged; “never”: neither logged nor kept in the prefix cache",
    )


def operator() -> Actor:
    """The operating system's user who runs the command."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # A user id without a name, as in containers.
        user = "somebody"
    return Actor(name=f"{user} on the command line")
