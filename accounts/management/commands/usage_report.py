"""`manage.py usage_report`: the usage of keys by day, for scripts."""

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser

from accounts.limits import admission, clock
from accounts.limits.policy import day_of
from accounts.management import arguments
from accounts.management.command import AccountsCommand
from accounts.models import DailyUsage
from accounts.usage_export import csv_lines, row

DAYS = 30


class Command(AccountsCommand):
    help = "Write the usage of each API key on each day (UTC) at each endpoint to stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--since", type=arguments.day, help=f"the first day; by default, the report covers {DAYS} days"
        )
        parser.add_argument("--until", type=arguments.day, help="the last day; today by default")
        parser.add_argument("--key", help="name or number of one key; all keys by default")
        parser.add_argument("--format", choices=["csv", "json"], default="csv")

    def handle(self, *args: Any, **options: Any) -> None:
        admission.give_back_overdue()
        until = options["until"] or day_of(clock.now())
        since = options["since"] or until - timedelta(days=DAYS - 1)
        if since > until:
            raise CommandError(f"The first day, {since}, is after the last, {until}.")
        usages = (
            DailyUsage.objects.filter(day__range=(since, until))
            .select_related("key")
            .order_by("day", "key_id", "endpoint")
        )
        if options["key"] is not None:
            usages = usages.filter(key=arguments.find_key(options["key"]))
        if options["format"] == "json":
            self.stdout.write(json.dumps([row(usage) for usage in usages], indent=2, ensure_ascii=False))
            return
        for line in csv_lines(usages):
            self.stdout.write(line, ending="")
