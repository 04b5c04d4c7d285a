"""Usage by endpoint, with how long requests took. What was counted before has the endpoint `unknown`.

The defaults are the database's own, because workers of the previous version write neither table's new columns
while an upgrade is rolled out. They cannot write usage any more: they keep it in their journals, which this
version reads.
"""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation

BOUNDS_MS = (10, 20, 40, 80, 160, 320, 640, 1280, 2560, 5120, 10240, 20480, 40960, 81920, 163840)
COUNTS = [
    f"{measure}_{bucket}"
    for measure in ("first_token", "total")
    for bucket in (*(f"to_{bound}" for bound in BOUNDS_MS), "above")
]
SUMS = ("first_token_ms", "total_ms")


def merge(apps, schema_editor):
    """Back to one row for each key and day."""
    usage = apps.get_model("accounts", "DailyUsage")
    sums = [field.name for field in usage._meta.fields if isinstance(field, models.PositiveIntegerField | models.PositiveBigIntegerField)]
    several = usage.objects.order_by().values("key_id", "day").annotate(rows=models.Count("pk"))
    for key_and_day in list(several.filter(rows__gt=1).values("key_id", "day")):
        first, *others = usage.objects.filter(**key_and_day)
        for name in sums:
            setattr(first, name, sum(getattr(row, name) for row in (first, *others)))
        usage.objects.filter(pk__in=[row.pk for row in others]).delete()
        first.save()


def endpoint():
    return models.CharField(db_default="unknown", max_length=100)


class AddColumns(Operation):
    """Adds fields that may not be null and have a constant default of the database's own.

    Each database has a statement for it. Django copies the whole table on SQLite instead, and makes the models
    anew for each field, here 35 times: a third of the time that a new database takes.
    """

    def __init__(self, model_name, fields):
        self.model_name = model_name
        self.fields = fields

    def state_forwards(self, app_label, state):
        state.models[app_label, self.model_name].fields.update(self.fields)
        state.reload_model(app_label, self.model_name)

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            added = to_state.apps.get_model(app_label, self.model_name)._meta
            for name in self.fields:
                BaseDatabaseSchemaEditor.add_field(schema_editor, model, added.get_field(name))

    def database_backwards(self, app_label, schema_editor, from_state, to_state):
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            for name in self.fields:
                schema_editor.remove_field(model, model._meta.get_field(name))

    def describe(self):
        return f"Add fields to {self.model_name}"


class Migration(migrations.Migration):
    dependencies = [("accounts", "0009_max_tokens")]

    operations = [
        migrations.AlterModelOptions(
            name="dailyusage",
            options={
                "default_permissions": (),
                "ordering": ["-day", "key_id", "endpoint"],
                "permissions": [("view_usage", "Can view usage of API keys")],
                "verbose_name": "usage",
                "verbose_name_plural": "usage",
            },
        ),
        AddColumns("reservation", {"endpoint": endpoint()}),
        AddColumns(
            "dailyusage",
            {
                "endpoint": endpoint(),
                **{name: models.PositiveBigIntegerField(db_default=0) for name in SUMS},
                **{name: models.PositiveIntegerField(db_default=0) for name in COUNTS},
            },
        ),
        migrations.RemoveConstraint(model_name="dailyusage", name="accounts_dailyusage_key_day"),
        migrations.AddConstraint(
            model_name="dailyusage",
            constraint=models.UniqueConstraint(
                fields=("key", "day", "endpoint"), name="accounts_dailyusage_key_day_endpoint"
            ),
        ),
        migrations.RunPython(migrations.RunPython.noop, merge),
    ]
