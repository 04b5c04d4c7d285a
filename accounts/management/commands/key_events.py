"""`manage.py key_events`: the events of API keys, as a table or as JSON."""

import json
from typing import Any

from django.core.management.base import CommandParser

from accounts.management import arguments, table
from accounts.management.command import AccountsCommand
from accounts.models import KeyEvent
from accounts.templatetags.keys import event_details

MOST = 50


class Command(AccountsCommand):
    help = "List the events of API keys, the latest first: who changed what, when (UTC) and from where."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", nargs="?", help="name or number of one key; all keys by default")
        parser.add_argument(
            "--most", type=arguments.count, default=MOST, help=f"list this many events; {MOST} by default"
        )
        parser.add_argument("--format", choices=["table", "json"], default="table")

    def handle(self, *args: Any, **options: Any) -> None:
        events = KeyEvent.objects.select_related("key", "secret")
        if options["key"] is not None:
            events = events.filter(key=arguments.find_key(options["key"]))
        events = events[: options["most"]]
        if options["format"] == "json":
            self.stdout.write(json.dumps([_object(event) for event in events], indent=2, ensure_ascii=False))
            return
        heading = ("at", "key", "event", "by", "from", "secret", "details")
        for line in table.lines([heading, *map(_row, events)]):
            self.stdout.write(line)


def _row(event: KeyEvent) -> tuple[str, ...]:
    return (
        f"{event.at:%Y-%m-%d %H:%M:%S}",
        str(event.key),
        event.get_kind_display(),
        event.actor,
        event.address or "",
        str(event.secret or ""),
        event_details(event),
    )


def _object(event: KeyEvent) -> dict[str, Any]:
    return {
        "at": event.at.isoformat(timespec="seconds"),
        "key": event.key.name,
        "number": event.key_id,
        "event": event.kind,
        "by": event.actor,
        "from": event.address,
        "secret": None if event.secret is None else str(event.secret),
        "details": event.details,
    }
