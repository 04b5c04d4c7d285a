"""`manage.py create_key`: a new key, for scripts."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts import services
from accounts.key_fields import LIMITS
from accounts.management import arguments
from accounts.models import Scope


class Command(BaseCommand):
    help = "Make an API key. Its secret alone goes to stdout, once: SECRET=$(manage.py create_key search)"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the key is for")
        parser.add_argument("--owner", default="", help="who answers for it")
        parser.add_argument("--note", default="")
        expiry = parser.add_mutually_exclusive_group()
        expiry.add_argument("--expires-in", type=arguments.duration, help="for example 90d")
        expiry.add_argument("--expires-at", type=arguments.moment, help="for example 2026-12-31")
        for name in LIMITS:
            option = f"--{name.replace('_', '-')}"
            parser.add_argument(option, type=arguments.limit, help="a number, “unlimited” or “default”")
        parser.add_argument(
            "--network", action="append", default=[], help="allowed address or CIDR; repeatable"
        )
        parser.add_argument("--scope", action="append", choices=Scope.values, help="all of them unless given")

    def handle(self, *args: Any, **options: Any) -> None:
        expires_at = options["expires_at"]
        if options["expires_in"] is not None:
            expires_at = timezone.now() + options["expires_in"]
        if expires_at is not None and expires_at <= timezone.now():
            raise CommandError("The key would expire at once: give a later time.")
        try:
            issued = services.create_key(
                name=options["name"],
                owner=options["owner"],
                note=options["note"],
                expires_at=expires_at,
                limits={name: options[name] for name in LIMITS},
                allowed_networks=options["network"],
                scopes=options["scope"] or Scope.values,
                by=arguments.operator(),
            )
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(f"Made the API key “{issued.key}” (number {issued.key.pk}); this is its secret:")
        self.stdout.write(issued.plaintext)
