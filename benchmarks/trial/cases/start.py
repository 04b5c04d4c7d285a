"""Starts of several services."""

from benchmarks.trial import database, rolling
from benchmarks.trial import start as starts
from benchmarks.trial.place import Place, trial


@trial
def two_starts(place: Place) -> None:
    """Two services start at once on one fresh PostgreSQL: both serve, with one key and one account."""
    server = place.postgres or database.SERVER
    place.note(starts.two_starts_on_one_database(server=server, model=place.model, folder=place.folder))


@trial
def rolling_restart(place: Place) -> None:
    """Two services on one PostgreSQL behind nginx are restarted one by one: nothing is lost or refused."""
    server = place.postgres or database.SERVER
    seen = rolling.restart(server=server, model=place.model, folder=place.folder, seconds=place.seconds)
    place.note(seen)
