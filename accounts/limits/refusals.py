"""Requests that are refused before they are admitted: what the account of their key says of them.

Each counts in the usage. One that is wrong takes one of the requests a minute as well: otherwise a key with a
limit could keep the service busy with requests that are never admitted.
"""

from http import HTTPStatus

from django.db import DatabaseError, InterfaceError

from accounts.limits import tally, unreserved
from accounts.models import APIKey, Outcome
from llmservice.http import request_record
from llmservice.http.problems import problem_for

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
    """Count the request that `error` ends, if it refuses it. It is counted also if the database is away.

    Args:
        key: that has been accepted; None if the request was refused before that.

    Raises:
        LimitExceeded: in place of the refusal, if the key has no request left.
    """
    record = request_record.current()
    if record is not None and record.outcome is not None:
        return  # it was admitted, and its settlement counts it
    status = problem_for(error).code.status
    if status in INVALID and key is not None:
        try:
            unreserved.count(key, Outcome.INVALID)
        except (DatabaseError, InterfaceError):
            tally.count(key.pk, Outcome.INVALID)
    elif status in FORBIDDEN and record is not None and record.key_id is not None:
        tally.count(record.key_id, Outcome.FORBIDDEN)
