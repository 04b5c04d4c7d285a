"""A process that uses the limits of keys, for the tests of concurrency.

`python -m tests.key_worker` reads jobs as lines of JSON, runs each and writes its result as a line of JSON.
It uses the database that DATABASE_URL names.
"""

import json
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import django

django.setup()

from accounts import services  # noqa: E402
from accounts.limits import admission as admissions  # noqa: E402
from accounts.limits.policy import LimitExceeded  # noqa: E402
from accounts.models import APIKey, DailyUsage, Outcome  # noqa: E402


def create(name: str, limits: dict[str, int]) -> int:
    return int(services.create_key(name=name, limits=limits).key.pk)


def admit(
    key_id: int, count: int, tokens: int, used: int | None = None, now: str | None = None
) -> list[tuple[str, bool]]:
    """Request admission `count` times; settle each admission at once with `used` tokens, if given."""
    key = APIKey.objects.get(pk=key_id)
    at = None if now is None else datetime.fromisoformat(now)
    decisions = []
    for _ in range(count):
        try:
            admission = admissions.admit(key=key, tokens=tokens, timeout_s=60, now=at)
        except LimitExceeded as refused:
            decisions.append((refused.decided_at.isoformat(), False))
            continue
        if used is not None:
            ended = admission.settlement(Outcome.FINISHED, prompt_tokens=1, completion_tokens=used - 1)
            admissions.settle([ended])
        decisions.append((admission.decided_at.isoformat(), True))
    return decisions


def release_overdue(now: str) -> int:
    return admissions.give_back_overdue(now=datetime.fromisoformat(now))


def account(key_id: int) -> dict[str, Any]:
    """The key's usage on all days, and its running requests."""
    rows = DailyUsage.objects.filter(key_id=key_id)
    counts = {name: sum(getattr(row, name) for row in rows) for name in Outcome.values}
    standing = admissions.standing_of(APIKey.objects.get(pk=key_id))
    return {**counts, "tokens": sum(row.tokens for row in rows), "running": standing.running}


JOBS: dict[str, Callable[..., Any]] = {
    "create": create,
    "admit": admit,
    "release_overdue": release_overdue,
    "account": account,
}

for line in sys.stdin:
    job = json.loads(line)
    print(json.dumps(JOBS[job.pop("do")](**job)), flush=True)
