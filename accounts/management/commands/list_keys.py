"""`manage.py list_keys`: list the API keys, as a table or as JSON."""

import json
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from accounts.key_fields import LIMITS
from accounts.management import arguments, table
from accounts.management.command import AccountsCommand
from accounts.models import APIKey, KeyState, Scope

COLUMNS = ("number", "name", "state", "owner", "secrets", "last_used", "expires", "scopes")


class Command(AccountsCommand):
    help = "List the API keys, each with the first characters of its live secrets."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--state", choices=KeyState.values, help="list only keys in this state")
        arguments.add_scopes(parser, help="list only keys with this scope; may be repeated")
        parser.add_argument("--format", choices=["table", "json"], default="table")

    def handle(self, *args: Any, **options: Any) -> None:
        keys = APIKey.objects.order_by("pk").prefetch_related("secrets")
        if options["state"]:
            keys = keys.in_state(KeyState(options["state"]))
        for scope in options["scope"] or ():
            keys = keys.with_scope(Scope(scope))
        rows = [_row(key) for key in keys]
        if options["format"] == "json":
            self.stdout.write(json.dumps(rows, indent=2, ensure_ascii=False))
            return
        cells = [tuple(_cell(row[column]) for column in COLUMNS) for row in rows]
        for line in table.lines([COLUMNS, *cells]):
            self.stdout.write(line)


def _row(key: APIKey) -> dict[str, Any]:
    now = timezone.now()
    return {
        "number": key.pk,
        "name": key.name,
        "owner": key.owner,
        "state": key.state_at(now).value,
        "secrets": [str(secret) for secret in key.secrets.all() if secret.is_live_at(now)],
        "created": _second(key.created_at),
        "last_used": _second(key.last_used_at),
        "expires": _second(key.expires_at),
        "limits": {name: getattr(key, name) for name in LIMITS},
        "allowed_networks": key.allowed_networks,
        "scopes": key.scopes,
        "prompts": key.prompts,
    }


def _second(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _cell(value: Any) -> str:
    match value:
        case None:
            return "never"
        case list():
            return " ".join(value) or "none"
        case _:
            return str(value)
