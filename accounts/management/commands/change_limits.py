"""`manage.py change_limits`: change the limits of an API key from a script."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.key_fields import LIMITS
from accounts.management import arguments
from accounts.management.command import AccountsCommand


class Command(AccountsCommand):
    help = "Change limits of an API key; those that are not given stay as they are."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="name or number of the key")
        arguments.add_limits(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        limits = {name: options[name] for name in LIMITS if name in options}
        if not limits:
            raise CommandError("No limit was given: `manage.py change_limits --help` lists them.")
        key = arguments.find_key(options["key"])
        for name, value in limits.items():
            setattr(key, name, value)
        try:
            services.update_key(key=key, fields=list(limits), by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(f"Changed the limits of the API key “{key}”.")
