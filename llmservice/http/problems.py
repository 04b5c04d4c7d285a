"""Every error of the service as a problem document (RFC 9457, `application/problem+json`).

`problem_for` is the one place that says which exception becomes which status and which words a client reads.
The admin keeps its own HTML pages.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.views import defaults
from rest_framework.exceptions import APIException, AuthenticationFailed, Throttled, ValidationError
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EmptyPrompt,
    EngineError,
    Overloaded,
    PromptTooLong,
    TokenWithoutEmbedding,
    Unavailable,
)
from llmservice.http import request_record

CONTENT_TYPE = "application/problem+json"
# Long enough for a restart or a short load to pass, short enough that nobody waits for nothing.
RETRY_AFTER_S = 5
# No standard has a status for a client that is gone; the log and the metrics have nginx's.
CLIENT_CLOSED_REQUEST = 499

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FieldError:
    """One thing that is wrong with a request's body; `field` is empty where it is the body as a whole."""

    field: str
    detail: str

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a client is told when its request fails; `detail` is a sentence for a human."""

    status: int
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> HttpResponse:
        title = title_of(self.status)
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            body["errors"] = [{"field": error.field, "detail": error.detail} for error in self.errors]
        return JsonResponse(
            body,
            status=self.status,
            reason=title,
            content_type=CONTENT_TYPE,
            headers=dict(self.headers),
        )


def title_of(status: int) -> str:
    """The status in words."""
    return "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase


def invalid(errors: Sequence[FieldError]) -> Problem:
    """The 422 for a body that is sound JSON with wrong contents."""
    return Problem(status=422, detail=" ".join(map(str, errors)), errors=errors)


def unavailable(detail: str, *, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """The 503 for what passes by itself: the same request may be sent again after `retry_after_s` seconds."""
    return Problem(status=503, detail=detail, headers={"Retry-After": str(retry_after_s)})


def problem_for(exc: Exception) -> Problem:
    """The problem that stands for `exc`; what nobody foresaw is a 500 that tells nothing of the inside."""
    match exc:
        case ValidationError():
            return invalid(list(field_errors(exc.detail)))
        case PromptTooLong() | EmptyPrompt() | TokenWithoutEmbedding():
            return invalid([FieldError("prompt", str(exc))])
        case Throttled():
            wait = getattr(exc, "wait", None)
            headers = {} if wait is None else {"Retry-After": str(wait)}
            return Problem(status=429, detail=str(exc.detail), headers=headers)
        case APIException():
            return Problem(status=exc.status_code, detail=str(exc.detail))
        case Http404():
            return Problem(status=404, detail="There is nothing at this address.")
        case PermissionDenied():
            return Problem(status=403, detail="This is not allowed.")
        case RequestDataTooBig():
            return Problem(status=413, detail="The body is larger than this service accepts.")
        case UnreadablePostError():
            return Problem(status=400, detail="The body ended before it was complete.")
        case SuspiciousOperation():
            return Problem(status=400, detail="The request is malformed.")
        case Overloaded():
            return unavailable(str(exc), retry_after_s=exc.retry_after_s)
        case Unavailable():
            return unavailable(str(exc))
        case DeadlineExceeded():
            return Problem(status=504, detail=str(exc))
        case Cancelled():
            return Problem(status=CLIENT_CLOSED_REQUEST, detail="The client closed the connection.")
        case EngineError():
            return Problem(status=500, detail=str(exc))
        case OperationalError() | InterfaceError():
            return unavailable("The database did not answer; try again in a few seconds.")
        case _:
            return Problem(status=500, detail="The service failed on this request; its log says why.")


def reason_for(exc: Exception) -> str:
    """Why a request was refused or failed, in a word: for the log and the metrics."""
    match exc:
        case ValidationError() | PromptTooLong() | EmptyPrompt() | TokenWithoutEmbedding():
            return "invalid"
        case Throttled():
            return "limit"
        case AuthenticationFailed():
            return "authentication"
        case APIException(status_code=status):
            return HTTPStatus(status).name.lower()
        case Http404():
            return "not_found"
        case PermissionDenied():
            return "forbidden"
        case Overloaded():
            return "overloaded"
        case Unavailable():
            return "unavailable"
        case DeadlineExceeded():
            return "deadline"
        case Cancelled():
            return "disconnected"
        case OperationalError() | InterfaceError():
            return "database"
        case _:
            return "malformed" if problem_for(exc).status < 500 else "failed"


def field_errors(detail: Any, path: str = "") -> Iterator[FieldError]:
    """Flattens Django REST framework's nested error details, with paths such as `stop[0]`."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            if key == api_settings.NON_FIELD_ERRORS_KEY:
                yield from field_errors(value, path)
            elif isinstance(key, int):
                yield from field_errors(value, f"{path}[{key}]")
            else:
                yield from field_errors(value, f"{path}.{key}" if path else str(key))
    elif isinstance(detail, list):
        for value in detail:
            yield from field_errors(value, path)
    else:
        yield FieldError(path, str(detail))


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Django REST framework's `EXCEPTION_HANDLER`; it answers every exception, so that Django need not."""
    set_rollback()
    problem = problem_for(exc)
    _write_down(exc)
    # What the engine refuses or gives up is its normal work, and its words are in the answer.
    if problem.status >= 500 and not isinstance(exc, Overloaded | Unavailable | DeadlineExceeded):
        request = context["request"]
        logger.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem.response()


def _write_down(exc: Exception) -> None:
    if (record := request_record.current()) is not None:
        record.reason = reason_for(exc)


def _handler(page: Callable[..., HttpResponse], exc: Exception) -> Callable[..., HttpResponse]:
    problem = problem_for(exc)

    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        _write_down(exc)
        if request.path.startswith("/admin/"):
            return page(request, *args, **kwargs)
        return problem.response()

    return handle


# What Django answers itself, outside Django REST framework's views (named in the URLconf).
bad_request = _handler(defaults.bad_request, SuspiciousOperation())
permission_denied = _handler(defaults.permission_denied, PermissionDenied())
page_not_found = _handler(defaults.page_not_found, Http404())
server_error = _handler(defaults.server_error, Exception())
