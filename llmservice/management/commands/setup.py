from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.bootstrap import Bootstrapped
from inference import runtime
from inference.engine.errors import ModelUnavailable
from llmservice.management.preparation import prepare_database
from llmservice.management.server import become_server

ALL_INTERFACES = {"0.0.0.0", "::"}  # noqa: S104


class Command(BaseCommand):
    help = (
        "Migrates the database, creates the first API key and the first admin account, and prints how to use "
        "the service."
    )
    requires_system_checks = []  # the server's preflight runs them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--serve", action="store_true", help="become the server afterwards")

    def handle(self, *args: Any, serve: bool, **options: Any) -> None:
        try:
            # Before the account is created: its password is shown only once, so a start that fails here must
            # not create it.
            runtime.check_model()
        except ModelUnavailable as error:
            raise CommandError(str(error)) from error
        self.print_banner(prepare_database(generate_password=True))
        if serve:
            become_server()

    def print_banner(self, prepared: Bootstrapped) -> None:
        host = "localhost" if settings.HOST in ALL_INTERFACES else settings.HOST
        url = f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"
        key = settings.API_KEY if prepared.key_works else "<your key>"
        unknown = "create one in the admin; the key given in API_KEY does not work with this database"

        bold = self.style.SUCCESS
        rows = [
            ("Try it", f"{url}/"),
            ("Docs", f"{url}/docs"),
            ("Admin", f"{url}/admin/"),
            ("Health", f"{url}/health and {url}/ready"),
            ("Model", runtime.served_name() if settings.LLM_BACKEND == "upstream" else settings.LLM_MODEL),
            ("API key", key if prepared.key_works else unknown),
        ]
        lines = ["", *(f"  {bold(f'{name:<8}')}{value}" for name, value in rows)]
        if prepared.password is not None:
            lines += [
                "",
                f"  {bold(f'Created the admin account “{prepared.admin}” with the password')} "
                f"{bold(prepared.password)}",
                "  The password is not shown again.",
            ]
        elif prepared.admin is not None:
            lines += ["", f"  {bold(f'Created the admin account “{prepared.admin}”.')}"]
        lines += [
            "",
            f"  {bold('Try it')} once the log says that the model is ready:",
            f"  curl {url}/generate -H 'X-API-Key: {key}' \\",
            """       -H 'Content-Type: application/json' -d '{"prompt": "The capital of France is"}'""",
            "",
            "  Press Ctrl-C to stop the service.",
            "",
        ]
        self.stdout.write("\n".join(lines))
