"""`manage.py ensure_admin`: the first account for the admin pages."""

import secrets
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError, transaction

USERNAME = "admin"


class Command(BaseCommand):
    help = "Makes the account “admin” with a random password, printed this once, when there is no superuser."

    def handle(self, *args: Any, **options: Any) -> None:
        if User.objects.filter(is_superuser=True).exists():
            return
        password = secrets.token_urlsafe(15)
        try:
            with transaction.atomic():
                User.objects.create_superuser(USERNAME, password=password)
        except IntegrityError as error:
            if User.objects.filter(is_superuser=True).exists():
                return  # Another process was a moment faster.
            raise CommandError(
                f"There is no superuser, and the account “{USERNAME}” is an ordinary one: "
                "make a superuser with `manage.py createsuperuser`."
            ) from error
        self.stdout.write(f"Made the admin account “{USERNAME}” with the password {password} (shown once).")
