"""Usage by endpoint, with how long requests took. What was counted before has the endpoint `unknown`.

The defaults are the database's own, because workers of the previous version write neither table's new columns
while an upgrade is rolled out. They cannot write usage any more: they keep it in their journals, which this
version reads.
"""

from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

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


class AddColumn(migrations.AddField):
    """Adds a field that may not be null and has a constant default of the database's own.

    Each database has a statement for it. Django copies the whole table on SQLite instead, here 35 times.
    """

    def database_forwards(self, app_label, schema_editor, from_state, to_state):
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            field = to_state.apps.get_model(app_label, self.model_name)._meta.get_field(self.name)
            BaseDatabaseSchemaEditor.add_field(schema_editor, model, field)


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
        *(
            AddColumn(
                model_name=model,
                name="endpoint",
                field=models.CharField(db_default="unknown", max_length=100),
            )
            for model in ("reservation", "dailyusage")
        ),
        *(
            AddColumn(
                model_name="dailyusage", name=name, field=models.PositiveBigIntegerField(db_default=0)
            )
            for name in SUMS
        ),
        *(
            AddColumn(
                model_name="dailyusage", name=name, field=models.PositiveIntegerField(db_default=0)
            )
            for name in COUNTS
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
