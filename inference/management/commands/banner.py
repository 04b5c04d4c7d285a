from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from accounts import authentication, services

EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104


class Command(BaseCommand):
    help = "Print where the service will be found and how it is used."
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        host = "localhost" if settings.HOST in EVERY_ADDRESS else settings.HOST
        url = f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"
        secret = services.find_secret(settings.API_KEY)
        works = secret is not None and authentication.refusal(secret, timezone.now()) is None
        key = settings.API_KEY if works else "<your key>"
        rows = [
            ("Model", settings.LLM_MODEL),
            ("API", f"{url}/docs"),
            ("Admin", f"{url}/admin/"),
            ("Health", f"{url}/health, {url}/ready"),
            ("Key", key if works else "one that you made in the admin"),
        ]
        bold = self.style.MIGRATE_HEADING
        self.stdout.write("")
        for name, value in rows:
            self.stdout.write(f"  {bold(f'{name:<8}')}{value}")
        self.stdout.write(f"""
  {bold("Try it, once the log says that the model is ready:")}
  curl {url}/generate -H 'X-API-Key: {key}' \\
       -H 'Content-Type: application/json' -d '{{"prompt": "The capital of France is"}}'
""")
