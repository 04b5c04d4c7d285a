"""The step that `serve` and `setup` share: an up-to-date database with a first key and an admin account."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import Error, connection
from filelock import FileLock

from accounts.bootstrap import BootstrapError, Bootstrapped, Superuser, bootstrap
from llmservice.database import check_connection, explain, separate_connection
from llmservice.management.refusal import CannotServe
from llmservice.management.schema import refuse_newer

# Arbitrary, but the same for all processes of this service.
ADVISORY_LOCK = 0x11735E12


def prepare_database(*, generate_password: bool) -> Bootstrapped:
    """Migrate the database and create the first key and the admin account where they are missing.

    Processes that start at the same time on one database do this one after the other.

    Args:
        generate_password: whether to create the account `admin` with a random password if there is no
            superuser and the settings name none.

    Raises:
        CommandError: one sentence that tells the operator what to do.
    """
    try:
        if connection.vendor == "sqlite":
            _create_var_dir()
        check_connection(connection)
        with _one_at_a_time():
            refuse_newer(connection)
            call_command("migrate", verbosity=0)
            return bootstrap(
                api_key=settings.API_KEY,
                superuser=Superuser.configured(),
                generate_password=generate_password,
            )
    except Error as error:
        raise CommandError(explain(error)) from error
    except (BootstrapError, CannotServe) as error:
        raise CommandError(str(error)) from error


def _create_var_dir() -> None:
    try:
        settings.VAR_DIR.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(
            f"The folder {settings.VAR_DIR} cannot be created ({error.strerror}): set VAR_DIR to a folder "
            "that this user can write to."
        ) from error


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Only one process of those that start on the same database executes this block at a time."""
    if connection.vendor == "postgresql":
        # The pool may be as small as one connection, and the block needs that one.
        with separate_connection(connection) as own, own.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
            yield  # closing the connection releases the lock
    else:
        # Beside the database: processes with one database may have different values of VAR_DIR.
        lock = FileLock(f"{connection.settings_dict['NAME']}.lock")
        try:
            lock.acquire()
        except OSError as error:
            raise CannotServe(
                f"The file {lock.lock_file} cannot be created ({error.strerror}): let this user write to "
                "its folder, or choose another one with DATABASE_URL or VAR_DIR."
            ) from error
        try:
            yield
        finally:
            lock.release()
