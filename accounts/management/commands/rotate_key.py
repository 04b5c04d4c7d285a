"""`manage.py rotate_key`: add a secret to an API key from a script."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.management import arguments
from accounts.management.command import AccountsCommand
from accounts.templatetags.keys import duration


class Command(AccountsCommand):
    help = "Add a new secret to an API key and print only it to stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="name or number of the key")
        parser.add_argument(
            "--grace",
            type=arguments.duration,
            default=timedelta(days=1),
            help="how long the old secret keeps working: 24h by default, 0 ends it now",
        )
        parser.add_argument("--reason", default="", help="stored in the key's events")

    def handle(self, *args: Any, **options: Any) -> None:
        key = arguments.find_key(options["key"])
        grace = options["grace"]
        try:
            issued = services.rotate(key=key, grace=grace, reason=options["reason"], by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        old = f"works for {duration(grace)} more" if grace else "no longer works"
        self.stderr.write(f"Rotated the API key “{key}”. The old secret {old}. The new secret is:")
        self.stdout.write(issued.plaintext)
