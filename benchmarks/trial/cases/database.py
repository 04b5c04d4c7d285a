"""Keys are charged for what clients received, whatever happens to the database."""

from collections.abc import Callable

from benchmarks.trial import database
from benchmarks.trial.place import Place, trial


@trial
def database_away(place: Place) -> None:
    """PostgreSQL is away: answers do not wait for it, and every token is charged when it is back."""
    _on_postgresql(database.away, place)


@trial
def database_silent(place: Place) -> None:
    """PostgreSQL says nothing: the same."""
    _on_postgresql(database.silent, place)


@trial
def database_locked(place: Place) -> None:
    """SQLite is locked by another program: the same."""
    place.note(database.locked(model=place.model, folder=place.folder, seconds=place.seconds))


@trial
def disk_full(place: Place) -> None:
    """The disk of SQLite and of the journal is full: the same. It needs the right to mount."""
    place.note(database.full(model=place.model, folder=place.folder, seconds=min(place.seconds, 12)))


def _on_postgresql(run: Callable[..., str], place: Place) -> None:
    server = place.postgres or database.SERVER
    place.note(run(model=place.model, folder=place.folder, seconds=place.seconds, postgres=server))
