"""Requests that are refused before they are admitted: what the account of their key says of them.

Each counts in the usage. One that is wrong takes one of the requests a minute as well: otherwise a key with a
limit could keep the service busy with requests that are never admitted.
"""

import logging
from http import HTTPStatus

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from accounts.limits import endpoint, ledger, unreserved
from accounts.limits.policy import day_of
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
    record = request_record.current()
    if record is not None and record.outcome is not None:
        return  # it was admitted, and its settlement counts it
    status = problem_for(error).code.status
    key_id = None if record is None else record.key_id
    try:
        if status in INVALID and key is not None:
            unreserved.count(key, Outcome.INVALID)
        elif status in FORBIDDEN and key_id is not None:
            ledger.account(key_id, day_of(timezone.now()), endpoint.current(), Outcome.FORBIDDEN)
    except (DatabaseError, InterfaceError) as failure:
        logger.warning("A refused request of key %s was not counted: %s", key_id, failure)
