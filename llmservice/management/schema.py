"""Whether the database's tables are those of this version of the service."""

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from llmservice.management.refusal import CannotServe


def refuse_newer(connection: BaseDatabaseWrapper) -> None:
    """Raises CannotServe if a newer version of the service has migrated the database."""
    loader = MigrationLoader(connection)
    known = set(loader.disk_migrations)
    for migration in loader.disk_migrations.values():
        known.update(migration.replaces)
    unknown = sorted(
        f"{app}.{name}"
        for app, name in set(loader.applied_migrations) - known
        if app in loader.migrated_apps  # a package that is no longer used leaves its own behind
    )
    if unknown:
        raise CannotServe(
            f"A newer version has migrated the database, to {unknown[-1]}: start that version, or restore "
            "the backup from before the upgrade."
        )


def refuse_older(connection: BaseDatabaseWrapper) -> None:
    """Raises CannotServe if the database lacks migrations of this version."""
    loader = MigrationLoader(connection)
    missing = set(loader.graph.nodes) - set(loader.applied_migrations)
    if missing:
        raise CannotServe(
            f"The database lacks {len(missing)} migrations of this version: run `python manage.py migrate`."
        )
