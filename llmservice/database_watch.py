"""Whether the database can be used, for `/ready`: looked up by a thread, so that no probe waits for it."""

import logging
import threading
import time

from django.db import Error, connection

from llmservice.database import return_to_pool
from llmservice.database_file import close_if_replaced
from llmservice.http import database_errors

LOOKED_UP_EVERY_S = 1.0
SLOW_S = 3.0

logger = logging.getLogger(__name__)

_fault = ""
_asked_at: float | None = None


def start() -> None:
    """Look the database up from now on."""
    threading.Thread(target=_watch, name="database", daemon=True).start()


def fault() -> str:
    """Why the database cannot be used now, as a sentence; empty while it can, or if nothing looks it up."""
    asked_at = _asked_at
    if asked_at is not None and time.monotonic() - asked_at > SLOW_S:
        return database_errors.AWAY
    return _fault


def look_up() -> str:
    """Ask the database; returns what is wrong with it, or an empty text."""
    try:
        close_if_replaced(connection)
        connection.close_if_unusable_or_obsolete()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_migrations LIMIT 1")
        return_to_pool()
    except Error as error:
        connection.close()
        return database_errors.detail_of(error) or database_errors.AWAY
    return ""


def _watch() -> None:
    global _fault, _asked_at
    while True:
        _asked_at = time.monotonic()
        try:
            found = look_up()
        except Exception:
            logger.exception("Looking up the database failed.")
            found = database_errors.AWAY
        if found and not _fault:
            logger.warning("%s", found)
        elif _fault and not found:
            logger.info("The database can be used again.")
        _fault, _asked_at = found, None
        time.sleep(LOOKED_UP_EVERY_S)
