"""Every error of the service as a problem document (RFC 9457, `application/problem+json`).

Each app registers what its own exceptions mean (`register`); those of Django and Django REST framework are
here. The admin keeps its own HTML pages.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.views import defaults
from rest_framework.exceptions import APIException, AuthenticationFailed, Throttled, ValidationError
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from llmservice.http import database_errors, request_record

CONTENT_TYPE = "application/problem+json"
# Long enough for a restart or a short peak to pass.
RETRY_AFTER_S = 5
# No standard has a status for a client that has left; the log and the metrics use nginx's.
CLIENT_CLOSED_REQUEST = 499

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What an exception of an app stands for.

    Attributes:
        status: of the answer.
        reason: why the request was refused or failed, in a word, for the log and the metrics.
        outcome: what the account of the key says of the request.
        field: the field of the body that it is about, if any.
        detail: what the client reads in place of the exception's own text.
        fault: whether it is a fault of the service, whose trace belongs in the log.
    """

    status: int
    reason: str
    outcome: str = "failed"
    field: str = ""
    detail: str | None = None
    fault: bool = False


_meanings: dict[type[Exception], Meaning] = {}


def register(meanings: Mapping[type[Exception], Meaning]) -> None:
    """Add what an app's exceptions mean; a subclass that is not listed means what its base means."""
    _meanings.update(meanings)


def meaning_of(exc: BaseException) -> Meaning | None:
    """What the exception was registered with; None for one that no app has registered."""
    return next((_meanings[kind] for kind in type(exc).__mro__ if kind in _meanings), None)


@dataclass(frozen=True)
class FieldError:
    """One mistake in the body of a request; `field` is empty if it concerns the body as a whole."""

    field: str
    detail: str

    def __str__(self) -> str:
        return f"{self.field}: {self.detail}" if self.field else self.detail


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a client is told when its request fails; `detail` is a sentence for people."""

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
    """The 422 for a body that is valid JSON with invalid contents."""
    return Problem(status=422, detail=" ".join(map(str, errors)), errors=errors)


def unavailable(detail: str, *, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """The 503 for what is temporary: the same request may be sent again after `retry_after_s` seconds."""
    return Problem(status=503, detail=detail, headers={"Retry-After": str(retry_after_s)})


def problem_for(exc: Exception) -> Problem:
    """The problem that stands for `exc`; anything unexpected is a 500 that reveals no details."""
    if (meaning := meaning_of(exc)) is not None:
        return _registered(exc, meaning)
    match exc:
        case ValidationError():
            return invalid(list(field_errors(exc.detail)))
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
        case Error() if (detail := database_errors.detail_of(exc)) is not None:
            return unavailable(detail)
        case _:
            return Problem(status=500, detail="The service failed on this request; its log says why.")


def _registered(exc: Exception, meaning: Meaning) -> Problem:
    detail = meaning.detail or str(exc)
    if meaning.field:
        return replace(invalid([FieldError(meaning.field, detail)]), status=meaning.status)
    if meaning.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return unavailable(detail, retry_after_s=getattr(exc, "retry_after_s", RETRY_AFTER_S))
    return Problem(status=meaning.status, detail=detail)


def reason_for(exc: Exception) -> str:
    """Why a request was refused or failed, in a word, for the log and the metrics."""
    if (meaning := meaning_of(exc)) is not None:
        return meaning.reason
    match exc:
        case ValidationError():
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
        case Error() if database_errors.detail_of(exc) is not None:
            return "database"
        case _:
            return "malformed" if problem_for(exc).status < 500 else "failed"


def field_errors(detail: Any, path: str = "") -> Iterator[FieldError]:
    """Flatten Django REST framework's nested error details, with paths such as `stop[0]`."""
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
    """Django REST framework's `EXCEPTION_HANDLER`; it answers every exception, so that Django does not."""
    set_rollback()
    problem = problem_for(exc)
    _record_reason(exc)
    meaning = meaning_of(exc)
    if meaning.fault if meaning is not None else problem.status >= 500:
        request = context["request"]
        logger.error("%s %s failed", request.method, request.path, exc_info=exc)
    return problem.response()


def _record_reason(exc: Exception) -> None:
    if (record := request_record.current()) is not None:
        record.reason = reason_for(exc)


def _handler(page: Callable[..., HttpResponse], exc: Exception) -> Callable[..., HttpResponse]:
    problem = problem_for(exc)

    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        _record_reason(exc)
        if request.path.startswith("/admin/"):
            return page(request, *args, **kwargs)
        return problem.response()

    return handle


# What Django answers itself, outside Django REST framework's views (named in the URLconf).
bad_request = _handler(defaults.bad_request, SuspiciousOperation())
permission_denied = _handler(defaults.permission_denied, PermissionDenied())
page_not_found = _handler(defaults.page_not_found, Http404())
server_error = _handler(defaults.server_error, Exception())
