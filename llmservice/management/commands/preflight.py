import logging
import socket
import sys
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor

from inference import runtime
from inference.engine.errors import ModelUnavailable
from llmservice.database import connect_once, why_not

logger = logging.getLogger(__name__)


class CannotServe(Exception):
    """The service cannot start; the text is one sentence that says what to do."""


class Command(BaseCommand):
    help = "Look whether the service could start, and say in one sentence why not."
    requires_system_checks = []  # they are run below, where their warnings go to the log

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--before-setup", action="store_true", help="look only at what is there before database and model"
        )

    def handle(self, *args: Any, before_setup: bool, **options: Any) -> None:
        try:
            check_port(settings.HOST, settings.PORT)
            if not before_setup:
                check_settings()
                check_database()
                runtime.check_model()
        except (CannotServe, ModelUnavailable) as error:
            self.stderr.write(str(error))
            sys.exit(1)


def check_port(host: str, port: int) -> None:
    """Raises CannotServe where the service cannot listen on `port` of `host`."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            other = port + 1 if port < 65535 else port - 1
            raise CannotServe(
                f"The service cannot listen on {host}, port {port} ({error.strerror}): end what uses it, "
                f"or choose another with PORT={other}."
            ) from error


def check_settings() -> None:
    """Log the warnings of Django's system checks. Raises CannotServe for an error among them."""
    for message in checks.run_checks():
        if message.level >= checks.ERROR:
            raise CannotServe(f"{message.msg} ({message.id})")
        logger.warning("%s (%s)", message.msg, message.id)


def check_database() -> None:
    """Raises CannotServe where the database cannot be reached or its tables are not those of this version."""
    try:
        connect_once(connection)
        executor = MigrationExecutor(connection)
    except Error as error:
        raise CannotServe(why_not(error)) from error
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        raise CannotServe(
            f"The database lacks {len(missing)} migrations of this version: run `python manage.py migrate`."
        )
