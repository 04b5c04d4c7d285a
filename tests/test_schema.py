"""What the start says about a database that another version has migrated."""

import pytest
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from llmservice.management.refusal import CannotServe
from llmservice.management.schema import refuse_newer, refuse_older

pytestmark = pytest.mark.django_db


def test_the_database_of_this_version_is_accepted() -> None:
    refuse_newer(connection)
    refuse_older(connection)


def test_the_database_of_a_newer_version_is_refused_with_the_way_back() -> None:
    MigrationRecorder(connection).record_applied("accounts", "9999_of_the_future")

    with pytest.raises(CannotServe, match=r"accounts\.9999_of_the_future: start that version, or restore"):
        refuse_newer(connection)


def test_migrations_of_a_package_that_is_no_longer_used_are_left_alone() -> None:
    MigrationRecorder(connection).record_applied("no_longer_used", "0001_initial")

    refuse_newer(connection)


def test_the_database_of_an_older_version_is_refused() -> None:
    recorder = MigrationRecorder(connection)
    app, name = max(recorder.applied_migrations())
    recorder.record_unapplied(app, name)

    with pytest.raises(CannotServe, match=r"lacks 1 migrations of this version: run"):
        refuse_older(connection)
