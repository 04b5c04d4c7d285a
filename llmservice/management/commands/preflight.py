import errno
import logging
import os
import socket
import sys
import tempfile
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.management.base import BaseCommand, CommandParser
from django.db import Error, connection

from inference import runtime
from inference.engine.errors import ModelUnavailable
from llmservice import tracing
from llmservice.database import check_connection, explain
from llmservice.management import schema
from llmservice.management.refusal import CannotServe

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Checks port, settings, database and model, and reports in one sentence why the service cannot start."
    )
    requires_system_checks = []  # they run below, so that their warnings go to the log

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--before-setup",
            action="store_true",
            help="check only the port and the temporary folder; neither database nor model have to exist yet",
        )

    def handle(self, *args: Any, before_setup: bool, **options: Any) -> None:
        try:
            check_port(settings.HOST, settings.PORT)
            check_temporary_folder()
            check_tracing()
            if not before_setup:
                check_settings()
                check_database()
                runtime.check_model()
        except (CannotServe, ModelUnavailable) as error:
            self.stderr.write(str(error))
            sys.exit(1)


def check_port(host: str, port: int) -> None:
    """Raises CannotServe if the service cannot listen on this address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            other = port + 1 if port < 65535 else port - 1
            remedy = (
                f"stop the program that uses the port, or choose another port with PORT={other}"
                if error.errno == errno.EADDRINUSE
                else "set HOST to an address of this machine and PORT to a port that this user may use"
            )
            raise CannotServe(
                f"The service cannot listen on {host}, port {port} ({error.strerror}): {remedy}."
            ) from error


def check_temporary_folder() -> None:
    """Raises CannotServe if there is none: the workers' heartbeats and metrics are files in it."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise CannotServe(
            "No temporary folder can be written to: set TMPDIR to a folder that this user can write to, and "
            "check that its disk is not full."
        ) from error


def check_tracing() -> None:
    """Raises CannotServe if traces are wanted and cannot be recorded."""
    if reason := tracing.missing(os.environ):
        raise CannotServe(reason)


def check_settings() -> None:
    """Log the warnings of Django's system checks. Raises CannotServe if they report an error."""
    for message in checks.run_checks():
        if message.level >= checks.ERROR:
            raise CannotServe(f"{message.msg} ({message.id})")
        logger.warning("%s (%s)", message.msg, message.id)


def check_database() -> None:
    """Raises CannotServe if the database cannot be used or its tables are not those of this version."""
    try:
        check_connection(connection)
        schema.refuse_newer(connection)
        schema.refuse_older(connection)
    except Error as error:
        raise CannotServe(explain(error)) from error
