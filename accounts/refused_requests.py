"""Counts the requests of a key that are refused before they are admitted, so that its usage shows them."""

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.db import DatabaseError, InterfaceError
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from accounts.limits import ledger
from accounts.limits.policy import day_of
from accounts.models import Outcome
from llmservice.http import request_record

logger = logging.getLogger(__name__)

# Other refusals are accounted for by `accounts.limits.admission`.
OUTCOMES: dict[int, Outcome] = {
    HTTPStatus.UNAUTHORIZED: Outcome.FORBIDDEN,
    HTTPStatus.FORBIDDEN: Outcome.FORBIDDEN,
    HTTPStatus.BAD_REQUEST: Outcome.INVALID,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: Outcome.INVALID,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: Outcome.INVALID,
    HTTPStatus.UNPROCESSABLE_ENTITY: Outcome.INVALID,
}
# Requests to other addresses are not part of the usage.
COUNTED_ROUTES = {"/generate", "/v1/completions", "/v1/chat/completions", "/v1/responses"}


class RefusedRequestsMiddleware:
    """Counts each refusal in the usage of the key whose secret was sent; follows `RequestLogMiddleware`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        outcome, record = OUTCOMES.get(response.status_code), request_record.current()
        if outcome and record and record.key_id is not None and record.route in COUNTED_ROUTES:
            try:
                ledger.account(record.key_id, day_of(timezone.now()), outcome)
            except (DatabaseError, InterfaceError) as error:
                logger.warning("A refused request of key %d was not counted: %s", record.key_id, error)
        return response
