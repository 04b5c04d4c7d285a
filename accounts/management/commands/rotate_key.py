"""`manage.py rotate_key`: a new secret for a key, for scripts."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import services
from accounts.management import arguments


class Command(BaseCommand):
    help = "Give an API key a new secret, which alone goes to stdout; the old one works for the grace."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="its name or number")
        parser.add_argument(
            "--grace",
            type=arguments.duration,
            default=timedelta(days=1),
            help="for example 1h or 7d; 0 is none",
        )
        parser.add_argument("--reason", default="", help="kept with the key's events")

    def handle(self, *args: Any, **options: Any) -> None:
        key = arguments.find_key(options["key"])
        grace = options["grace"]
        try:
            issued = services.rotate(key=key, grace=grace, reason=options["reason"], by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        old = f"works for {grace} more (days, h:mm:ss)" if grace else "no longer works"
        self.stderr.write(f"Rotated the API key “{key}”: the old secret {old}; this is the new one:")
        self.stdout.write(issued.plaintext)
