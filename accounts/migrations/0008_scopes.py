"""New scopes for what needed none: keys that exist may go on doing all that they could do."""

from django.db import migrations

NEW = ("models", "rotate")
ORDER = ("generate", "models", "usage", "rotate")


def add(apps, schema_editor):
    keys = apps.get_model("accounts", "APIKey").objects
    for key in keys.only("scopes").iterator():
        key.scopes = [scope for scope in ORDER if scope in {*key.scopes, *NEW}]
        key.save(update_fields=["scopes"])


def remove(apps, schema_editor):
    keys = apps.get_model("accounts", "APIKey").objects
    for key in keys.only("scopes").iterator():
        key.scopes = [scope for scope in key.scopes if scope not in NEW]
        key.save(update_fields=["scopes"])


class Migration(migrations.Migration):
    dependencies = [("accounts", "0007_refusals")]

    operations = [migrations.RunPython(add, remove)]
