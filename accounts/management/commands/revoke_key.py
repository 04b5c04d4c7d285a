"""`manage.py revoke_key`: revoke an API key from a script."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import services
from accounts.management import arguments


class Command(BaseCommand):
    help = "Revoke an API key permanently."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="name or number of the key")
        parser.add_argument("--reason", default="", help="stored in the key's events")

    def handle(self, *args: Any, **options: Any) -> None:
        key = arguments.find_key(options["key"])
        try:
            services.revoke(key=key, reason=options["reason"], by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(f"Revoked the API key “{key}”.")
