"""A reservation that is given back as lost stays for a while, so that its account can still be written.

The default is the database's own, because workers of the previous version insert rows without the column while
an upgrade is rolled out.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0005_labels'),
    ]

    operations = [
        migrations.AddField(
            model_name='reservation',
            name='lost',
            field=models.BooleanField(db_default=False),
        ),
    ]
