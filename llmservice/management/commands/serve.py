import contextlib
import fcntl
import logging
import time
from collections.abc import Iterator
from io import StringIO
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from llmservice.database import connect_once
from llmservice.management.server import become_server

# Any number; all processes of this service take the same.
LOCK = 0x11735E12
ASK_EVERY_S = 1.0

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "Wait for the database, bring it up to date, and become the server: the start of a container."
    requires_system_checks = []  # gunicorn's start runs them

    def handle(self, *args: Any, **options: Any) -> None:
        wait_for_database(settings.DATABASE_WAIT_S)
        with alone():
            call_command("migrate", verbosity=0)
            made = StringIO()
            call_command("seed", stdout=made)
            make_superuser()
        logger.info("The database is up to date. %s", made.getvalue().strip())
        become_server()


def wait_for_database(wait_s: float) -> None:
    """Raises CommandError, with one sentence, where the database does not answer within `wait_s` seconds."""
    until = time.monotonic() + wait_s
    told = False
    while True:
        try:
            connect_once(connection)
        except OperationalError as error:
            why = (str(error).strip().splitlines() or ["no reason given"])[0]
            if time.monotonic() >= until:
                raise CommandError(
                    f"The database did not answer within {wait_s:g} s ({why}): see that it runs and that "
                    "DATABASE_URL is right."
                ) from error
            if not told:
                logger.info("Waiting for the database, for %g s at the most (%s) ...", wait_s, why)
                told = True
            time.sleep(min(ASK_EVERY_S, max(0.0, until - time.monotonic())))
        else:
            return


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """No other process that starts on the same database is in this block at the same time."""
    if connection.vendor == "postgresql":
        # On a connection of its own: what is done meanwhile may open and close others.
        lock = connection.copy()
        try:
            with lock.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
                yield
                cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
        finally:
            lock.close()
    else:
        settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
        with (settings.VAR_DIR / "start.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def make_superuser() -> None:
    """The account that DJANGO_SUPERUSER_USERNAME and DJANGO_SUPERUSER_PASSWORD name, where there is none."""
    name, password = settings.DJANGO_SUPERUSER_USERNAME, settings.DJANGO_SUPERUSER_PASSWORD
    if not name or User.objects.filter(username=name).exists():
        return
    if not password:
        raise CommandError("DJANGO_SUPERUSER_USERNAME is set without DJANGO_SUPERUSER_PASSWORD: set both.")
    User.objects.create_superuser(name, email=settings.DJANGO_SUPERUSER_EMAIL, password=password)
    logger.info("Made the admin account “%s”.", name)
