"""Requests that are refused for their own mistakes: they count against the key's requests a minute as well.

Otherwise a key with a limit could keep the service busy with requests that are never admitted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http import HTTPStatus

from django.db import transaction

from accounts.limits import ledger
from accounts.limits.policy import LimitExceeded, Limits, day_of
from accounts.models import APIKey, Outcome
from llmservice.http.problems import problem_for


@contextmanager
def refusals_count(key: APIKey) -> Iterator[None]:
    """Count a request of the key that a 4xx ends in this block.

    Raises:
        LimitExceeded: in place of the refusal, if the key has no request left.
    """
    try:
        yield
    except LimitExceeded:
        raise  # admission has counted it
    except Exception as error:
        if problem_for(error).code.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            count_refused(key)
        raise


def count_refused(key: APIKey, *, now: datetime | None = None) -> None:
    """Take one of the key's requests a minute, for a request that is not admitted.

    Raises:
        LimitExceeded: none is left.
    """
    rate = Limits.of(key).rate
    if rate is None:
        return
    only_rate = Limits(rate=rate, tokens_per_day=None, max_concurrent=None)
    with transaction.atomic():
        locked_at = ledger.lock(key.pk)
        now = now or locked_at
        standing, _ = ledger.standing(key.pk, now)
        refusal = only_rate.refusal(standing, tokens=0, place_free_at=None)
        if refusal is None:
            ledger.take(key.pk, rate.taken(standing.tat_us, now_us=standing.now_us))
            return
        ledger.account(key.pk, day_of(now), Outcome.REFUSED)
    raise LimitExceeded(refusal.detail, code=refusal.code, wait_s=refusal.wait_s, decided_at=now)
