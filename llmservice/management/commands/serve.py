import logging
import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, connection

from llmservice.database import check_connection, first_line
from llmservice.management.preparation import prepare_database
from llmservice.management.server import become_server

RETRY_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = (
        "Waits for the database, migrates it, creates the first API key and the admin account of "
        "DJANGO_SUPERUSER_USERNAME, and becomes the server. Containers start with it."
    )
    requires_system_checks = []  # the server's preflight runs them

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--only-prepare",
            action="store_true",
            help="end when the database is up to date, without serving: for a job before a rollout",
        )

    def handle(self, *args: Any, only_prepare: bool, **options: Any) -> None:
        if connection.vendor == "postgresql":  # SQLite is a file: waiting would not make it appear
            wait_for_database(settings.DATABASE_WAIT_S)
        prepared = prepare_database(generate_password=False)
        logger.info("The database is up to date.")
        if prepared.key is not None:
            logger.info("Created the first API key, “%s”, from API_KEY.", prepared.key)
        elif not prepared.key_works:
            logger.info("The key given in API_KEY does not work: it is not in the database, or not active.")
        if prepared.admin is not None:
            logger.info("Created the admin account “%s”.", prepared.admin)
        if not only_prepare:
            become_server()


def wait_for_database(wait_s: float) -> None:
    """Return as soon as the database accepts connections.

    Raises:
        CommandError: it does not within `wait_s` seconds.
    """
    until = time.monotonic() + wait_s
    announced = False
    while True:
        try:
            check_connection(connection)
        except OperationalError as error:
            if time.monotonic() >= until:
                raise CommandError(
                    f"The database did not answer within {wait_s:g} s ({first_line(error)}): check that it "
                    "is running and that DATABASE_URL is correct."
                ) from error
            if not announced:
                logger.info("Waiting up to %g s for the database (%s) ...", wait_s, first_line(error))
                announced = True
            time.sleep(min(RETRY_EVERY_S, max(0.0, until - time.monotonic())))
        else:
            return
