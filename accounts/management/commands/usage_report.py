"""`manage.py usage_report`: what keys used, by day, for scripts."""

import json
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.limits import admission, clock
from accounts.limits.policy import day_of
from accounts.management import arguments
from accounts.models import DailyUsage, Outcome
from accounts.usage_export import csv_lines

DAYS = 30


class Command(BaseCommand):
    help = "Write what each API key used on each day (UTC) to stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", type=arguments.day, help=f"the first day; {DAYS} days unless given")
        parser.add_argument("--until", type=arguments.day, help="the last day; today unless given")
        parser.add_argument("--key", help="its name or number; all unless given")
        parser.add_argument("--format", choices=["csv", "json"], default="csv")

    def handle(self, *args: Any, **options: Any) -> None:
        admission.give_back_overdue()
        until = options["until"] or day_of(clock.now())
        since = options["since"] or until - timedelta(days=DAYS - 1)
        if since > until:
            raise CommandError(f"The first day, {since}, is after the last, {until}.")
        used = (
            DailyUsage.objects.filter(day__range=(since, until))
            .select_related("key")
            .order_by("day", "key_id")
        )
        if options["key"] is not None:
            used = used.filter(key=arguments.find_key(options["key"]))
        if options["format"] == "json":
            self.stdout.write(json.dumps([_row(one) for one in used], indent=2, ensure_ascii=False))
            return
        for line in csv_lines(used):
            self.stdout.write(line, ending="")


def _row(used: DailyUsage) -> dict[str, Any]:
    return {
        "day": used.day.isoformat(),
        "key_id": used.key_id,
        "key": used.key.name,
        "owner": used.key.owner,
        **{outcome: getattr(used, outcome) for outcome in Outcome.values},
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.tokens,
    }
