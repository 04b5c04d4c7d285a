"""The commands that change the state of one key and give a reason for it."""

from typing import Any, ClassVar, Protocol

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.events import Actor
from accounts.management import arguments
from accounts.management.command import AccountsCommand
from accounts.models import APIKey


class Change(Protocol):
    """A change of a key, as `accounts.services` makes them; raises KeyChangeError if it is not possible."""

    def __call__(self, *, key: APIKey, reason: str, by: Actor) -> None: ...


class KeyCommand(AccountsCommand):
    """`manage.py <command> <key> --reason …`; a subclass says what it changes, and what that has done."""

    change: ClassVar[Change]
    done: ClassVar[str]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="name or number of the key")
        parser.add_argument("--reason", default="", help="stored in the key's events")

    def handle(self, *args: Any, **options: Any) -> None:
        key = arguments.find_key(options["key"])
        try:
            type(self).change(key=key, reason=options["reason"], by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(self.done.format(key=key))
