from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from inference.quickstart import QuickstartUnavailable, ensure_model


class Command(BaseCommand):
    help = "Fetches the quick-start model if it is missing, and prints its folder."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            folder = ensure_model(settings.VAR_DIR, self.stderr.write)
        except QuickstartUnavailable as error:
            raise CommandError(str(error)) from error
        self.stdout.write(str(folder))
