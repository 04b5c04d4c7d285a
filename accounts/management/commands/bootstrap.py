"""`manage.py bootstrap`: create the first API key and the first admin account of a fresh database."""

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from accounts.bootstrap import BootstrapError, Superuser, bootstrap
from accounts.management.command import AccountsCommand


class Command(AccountsCommand):
    help = (
        "Create the first API key from API_KEY if the database holds no key, and the admin account that "
        "DJANGO_SUPERUSER_USERNAME and DJANGO_SUPERUSER_PASSWORD name if it does not exist. "
        "Never prints the key."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--generate-password",
            action="store_true",
            help="if there is no superuser, create the account “admin” with a random password, printed once",
        )

    def handle(self, *args: Any, generate_password: bool, **options: Any) -> None:
        try:
            done = bootstrap(
                api_key=settings.API_KEY,
                superuser=Superuser.configured(),
                generate_password=generate_password,
            )
        except BootstrapError as error:
            raise CommandError(str(error)) from error
        if done.key is not None:
            self.stdout.write(f"Created the API key “{done.key}” from API_KEY.")
        elif not settings.API_KEY:
            self.stdout.write("API_KEY is empty: no API key was created.")
        elif done.key_works:
            self.stdout.write("The database already contains the key given in API_KEY.")
        else:
            self.stdout.write(
                "The database already contains API keys, but the one given in API_KEY does not work."
            )
        if done.password is not None:
            self.stdout.write(
                f"Created the admin account “{done.admin}” with the password {done.password} (shown once)."
            )
        elif done.admin is not None:
            self.stdout.write(f"Created the admin account “{done.admin}”.")
