"""Triggers by which the database itself refuses to change an event.

On SQLite a table is emptied (by `manage.py flush`) with a DELETE, so only changes are refused there. SQLite
drops a table's triggers when Django rebuilds the table: a later migration of `KeyEvent` has to run this again.
"""

from django.db import migrations

REFUSAL = "The events of a key cannot be changed or deleted."
POSTGRESQL = [
    f"""CREATE FUNCTION accounts_keyevent_refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{REFUSAL}'; END $$""",
    """CREATE TRIGGER accounts_keyevent_stays BEFORE UPDATE OR DELETE ON accounts_keyevent
        FOR EACH ROW EXECUTE FUNCTION accounts_keyevent_refuse()""",
]
SQLITE = [
    f"""CREATE TRIGGER accounts_keyevent_stays BEFORE UPDATE ON accounts_keyevent
        BEGIN SELECT RAISE(ABORT, '{REFUSAL}'); END""",
]
UNDO = {
    "postgresql": [
        "DROP TRIGGER accounts_keyevent_stays ON accounts_keyevent",
        "DROP FUNCTION accounts_keyevent_refuse()",
    ],
    "sqlite": ["DROP TRIGGER accounts_keyevent_stays"],
}


def refuse_changes(apps, schema_editor):
    for statement in {"postgresql": POSTGRESQL, "sqlite": SQLITE}[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


def allow_changes(apps, schema_editor):
    for statement in UNDO[schema_editor.connection.vendor]:
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_limits_usage_events")]

    operations = [migrations.RunPython(refuse_changes, allow_changes)]
