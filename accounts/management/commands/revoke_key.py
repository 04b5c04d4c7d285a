"""`manage.py revoke_key`: the end of a key, for scripts."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import services
from accounts.management import arguments


class Command(BaseCommand):
    help = "Refuse an API key from now on, for good."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="its name or number")
        parser.add_argument("--reason", default="", help="kept with the key's events")

    def handle(self, *args: Any, **options: Any) -> None:
        key = arguments.find_key(options["key"])
        try:
            services.revoke(key=key, reason=options["reason"], by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(f"Revoked the API key “{key}”.")
