"""`manage.py change_scopes`: change what an API key may be used for from a script."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.management import arguments
from accounts.management.command import AccountsCommand


class Command(AccountsCommand):
    help = "Set the scopes of an API key: those that are given replace those that it has."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="name or number of the key")
        arguments.add_scopes(parser, required=True, help="what the key may do; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        key = arguments.find_key(options["key"])
        key.scopes = options["scope"]
        try:
            services.update_key(key=key, fields=["scopes"], by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(f"The API key “{key}” has the scopes {', '.join(key.scopes)}.")
