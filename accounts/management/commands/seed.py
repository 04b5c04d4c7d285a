"""`manage.py seed`: the default API key of a fresh database."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts import authentication, services


class Command(BaseCommand):
    help = "Makes the default API key from API_KEY when the database holds no key; never prints it."

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.API_KEY:
            self.stdout.write("API_KEY is empty: no default API key was made.")
            return
        try:
            key = services.seed_default_key(secret=settings.API_KEY)
        except ValueError as error:
            raise CommandError(
                "API_KEY cannot be a key: take up to 256 visible ASCII characters without spaces, "
                "not starting with “llms_”."
            ) from error
        if key is not None:
            self.stdout.write(f"Made the API key “{key}” from API_KEY.")
            return
        works = authentication.is_accepted(settings.API_KEY)
        self.stdout.write(
            "The database holds API keys already: nothing was made; "
            + ("API_KEY is one of them." if works else "API_KEY is none that is accepted.")
        )
