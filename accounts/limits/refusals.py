"""Requests that are refused before they are admitted: what the account of their key says of them.

Each counts in the usage. One that is wrong takes one of the requests a minute as well: otherwise a key with a
limit could keep the service busy with requests that are never admitted.
"""

import logging
from datetime import datetime
from http import HTTPStatus

from django.db import DatabaseError, InterfaceError, transaction
from django.utils import timezone

from accounts.limits import ledger
from accounts.limits.policy import LimitExceeded, Limits, day_of
from accounts.models import APIKey, Outcome
from llmservice.http import request_record
from llmservice.http.problems import problem_for

logger = logging.getLogger(__name__)

# Refusals by a limit are accounted for by `accounts.limits.admission`.
FORBIDDEN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
INVALID = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)


def count(error: Exception, *, key: APIKey | None) -> None:
    """Count the request that `error` ends, if it refuses it.

    Args:
        key: that has been accepted; None if the request was refused before that.

    Raises:
        LimitExceeded: in place of the refusal, if the key has no request left.
    """
    status = problem_for(error).code.status
    record = request_record.current()
    key_id = None if record is None else record.key_id
    try:
        if status in INVALID and key is not None:
            count_invalid(key)
        elif status in FORBIDDEN and key_id is not None:
            ledger.account(key_id, day_of(timezone.now()), Outcome.FORBIDDEN)
    except (DatabaseError, InterfaceError) as failure:
        logger.warning("A refused request of key %s was not counted: %s", key_id, failure)


def count_invalid(key: APIKey, *, now: datetime | None = None) -> None:
    """Count a request that is not admitted, and take one of the key's requests a minute for it.

    Args:
        now: the time to decide by; the database's own unless a test says another.

    Raises:
        LimitExceeded: none is left.
    """
    rate = Limits.of(key).rate
    if rate is None:
        ledger.account(key.pk, day_of(now or timezone.now()), Outcome.INVALID)
        return
    only_rate = Limits(rate=rate, tokens_per_day=None, max_concurrent=None)
    with transaction.atomic():
        locked_at = ledger.lock(key.pk)
        now = now or locked_at
        standing, _ = ledger.standing(key.pk, now)
        refusal = only_rate.refusal(standing, tokens=0, place_free_at=None)
        if refusal is None:
            ledger.take(key.pk, rate.taken(standing.tat_us, now_us=standing.now_us))
        ledger.account(key.pk, day_of(now), Outcome.INVALID if refusal is None else Outcome.REFUSED)
    if refusal is not None:
        raise LimitExceeded(refusal.detail, code=refusal.code, wait_s=refusal.wait_s, decided_at=now)
