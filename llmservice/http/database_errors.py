"""What is wrong with the database, by the error that it reported, in words for clients and operators."""

from django.db import DatabaseError, Error, InterfaceError, OperationalError

AWAY = "The database did not answer; try again in a few seconds."
FULL = "The disk of the database is full: the operator has to free space."
LACKS_TABLES = (
    "The database lacks tables of this version: the operator has to run `manage.py migrate`, or restore a "
    "backup."
)
NO_FILE = "The database's file cannot be opened: the operator has to check that it exists and can be read."
READ_ONLY = "The database can only be read: the operator has to check its permissions and its disk."
DAMAGED = "The database's file is damaged: the operator has to restore a backup."

# By PostgreSQL's SQLSTATE and by SQLite's result code.
DETAILS = {
    "53100": FULL,
    "42P01": LACKS_TABLES,
    "42703": LACKS_TABLES,
    "25006": READ_ONLY,
    "SQLITE_FULL": FULL,
    "SQLITE_CANTOPEN": NO_FILE,
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_CORRUPT": DAMAGED,
    "SQLITE_NOTADB": DAMAGED,
}


def is_busy(error: BaseException) -> bool:
    """Whether SQLite gave up waiting for another process's lock."""
    return _code_of(error).startswith("SQLITE_BUSY")


def detail_of(error: BaseException) -> str | None:
    """The sentence for an error that is the database's fault; None for any other, such as wrong SQL."""
    if not isinstance(error, Error):
        return None
    code = _code_of(error)
    # An extended result code of SQLite begins with the plain one: SQLITE_READONLY_DBMOVED.
    for known, detail in DETAILS.items():
        if code == known or code.startswith(f"{known}_"):
            return detail
    if isinstance(error, DatabaseError) and str(error).startswith(("no such table", "no such column")):
        return LACKS_TABLES
    if code == "SQLITE_ERROR":
        return None  # SQLite's driver reports wrong SQL as an OperationalError.
    return AWAY if isinstance(error, OperationalError | InterfaceError) else None


def _code_of(error: BaseException) -> str:
    """PostgreSQL's SQLSTATE or SQLite's result code; empty if the error has none."""
    cause = error.__cause__
    return getattr(cause, "sqlstate", None) or getattr(cause, "sqlite_errorname", None) or ""
