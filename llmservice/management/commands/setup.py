from io import StringIO
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error, connection

from accounts import authentication
from inference import runtime
from inference.engine.errors import ModelUnavailable
from llmservice.database import connect_once, why_not
from llmservice.management.server import become_server

EVERY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104


class Command(BaseCommand):
    help = "Bring the database up to date, with the first key and the first account, and say how to go on."
    requires_system_checks = []  # gunicorn's start runs them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--serve", action="store_true", help="become the server then")

    def handle(self, *args: Any, serve: bool, **options: Any) -> None:
        made = StringIO()
        try:
            # First, since the account's password is shown once: it is not for a start that ends here.
            runtime.check_model()
            connect_once(connection)
            call_command("migrate", verbosity=0)
            call_command("seed", stdout=StringIO())
            call_command("ensure_admin", stdout=made)
        except Error as error:
            raise CommandError(why_not(error)) from error
        except ModelUnavailable as error:
            raise CommandError(str(error)) from error
        self.banner(made.getvalue().strip())
        if serve:
            become_server()

    def banner(self, admin_made: str) -> None:
        host = "localhost" if settings.HOST in EVERY_ADDRESS else settings.HOST
        url = f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"
        works = authentication.is_accepted(settings.API_KEY)
        key = settings.API_KEY if works else "<your key>"

        bold = self.style.SUCCESS
        rows = [
            ("Docs", f"{url}/docs"),
            ("Admin", f"{url}/admin/"),
            ("Health", f"{url}/health and {url}/ready"),
            ("Model", settings.LLM_MODEL),
            ("Key", key if works else "one that you made in the admin (API_KEY is none of this database)"),
        ]
        lines = ["", *(f"  {bold(f'{name:<8}')}{value}" for name, value in rows)]
        if admin_made:
            lines += ["", f"  {bold(admin_made)}"]
        lines += [
            "",
            f"  {bold('Try it')} when the log says that the model is ready:",
            f"  curl {url}/generate -H 'X-API-Key: {key}' \\",
            """       -H 'Content-Type: application/json' -d '{"prompt": "The capital of France is"}'""",
            "",
            "  Ctrl-C ends the service.",
            "",
        ]
        self.stdout.write("\n".join(lines))
