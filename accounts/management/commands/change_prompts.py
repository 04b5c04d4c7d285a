"""`manage.py change_prompts`: change whether the prompts of an API key are kept, from a script."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts import services
from accounts.management import arguments
from accounts.management.command import AccountsCommand
from accounts.models import Prompts


class Command(AccountsCommand):
    help = "Set whether the prompts of an API key are kept after their request."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("key", help="name or number of the key")
        arguments.add_prompts(parser, "prompts")

    def handle(self, *args: Any, **options: Any) -> None:
        key = arguments.find_key(options["key"])
        key.prompts = Prompts(options["prompts"])
        try:
            services.update_key(key=key, fields=["prompts"], by=arguments.operator())
        except services.KeyChangeError as refused:
            raise CommandError(str(refused)) from refused
        self.stderr.write(f"Prompts of the API key “{key}”: {key.get_prompts_display().lower()}.")
