"""`manage.py create_key`: create an API key from a script."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from accounts import services
from accounts.key_fields import LIMITS
from accounts.management import arguments
from accounts.management.command import AccountsCommand
from accounts.models import Prompts, Scope


class Command(AccountsCommand):
    help = "Create an API key and print only its secret to stdout: SECRET=$(manage.py create_key search)"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="what the key is for")
        parser.add_argument("--owner", default="", help="who is responsible for it")
        parser.add_argument("--note", default="", help="anything worth knowing about it")
        expiry = parser.add_mutually_exclusive_group()
        expiry.add_argument("--expires-in", type=arguments.duration, help="for example 90d")
        expiry.add_argument("--expires-at", type=arguments.moment, help="for example 2026-12-31")
        arguments.add_limits(parser)
        parser.add_argument(
            "--network",
            action="append",
            default=[],
            help="an allowed address or network (CIDR); may be repeated",
        )
        arguments.add_scopes(parser, help="what the key may do; may be repeated; all by default")
        arguments.add_prompts(parser, "--prompts")

    def handle(self, *args: Any, **options: Any) -> None:
        expires_at = options["expires_at"]
        if options["expires_in"] is not None:
            expires_at = timezone.now() + options["expires_in"]
        if expires_at is not None and expires_at <= timezone.now():
            raise CommandError("The key would expire at once: choose a later expiry.")
        try:
            issued = services.create_key(
                name=options["name"],
                owner=options["owner"],
                note=options["note"],
                expires_at=expires_at,
                limits={name: options[name] for name in LIMITS if name in options},
                allowed_networks=options["network"],
                scopes=options["scope"] or Scope.values,
                prompts=Prompts(options["prompts"] or Prompts.DEFAULT),
                by=arguments.operator(),
            )
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(f"Created the API key “{issued.key}” (number {issued.key.pk}). Its secret is:")
        self.stdout.write(issued.plaintext)
