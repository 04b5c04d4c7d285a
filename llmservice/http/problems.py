"""Every error of the service as a problem document (RFC 9457, `application/problem+json`).

At the addresses of OpenAI's API it is OpenAI's error object instead (`openai_error.py`).

Each app registers what its own exceptions mean (`register`); those of Django and Django REST framework are
here. The admin keeps its own HTML pages.
"""

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import Error
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, UnreadablePostError
from django.views import defaults
from rest_framework.exceptions import APIException, Throttled, ValidationError
from rest_framework.settings import api_settings
from rest_framework.views import set_rollback

from llmservice.http import codes, database_errors, openai_error, request_record
from llmservice.http.codes import Code
from llmservice.http.excerpt import excerpt

CONTENT_TYPE = "application/problem+json"
# Long enough for a restart or a short peak to pass.
RETRY_AFTER_S = 5
# A body may contain any number of mistakes, and be wrong in long words; an answer has a few kilobytes.
MAX_ERRORS = 17
LONGEST_DETAIL = 2000
LONGEST_ERROR = 300

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Meaning:
    """What an exception of an app stands for.

    Attributes:
        code: of the problem; it has the status as well.
        outcome: what the account of the key says of the request.
        field: the field of the body that it is about, if any.
        detail: what the client reads in place of the exception's own text.
        fault: whether it is a fault of the service, whose trace belongs in the log.
    """

    code: Code
    outcome: str = "failed"
    field: str = ""
    detail: str | None = None
    fault: bool = False


_meanings: dict[type[Exception], Meaning] = {}


def register(meanings: Mapping[type[Exception], Meaning]) -> None:
    """Add what an app's exceptions mean; a subclass that is not listed means what its base means."""
    codes.declare(meaning.code for meaning in meanings.values())
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

    code: Code
    detail: str
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def field_name(self) -> str | None:
        """The first field that it is about, if any."""
        return self.errors[0].field or None if self.errors else None

    def response(self, path: str = "") -> HttpResponse:
        """The answer; its code becomes the reason of the request in the log and the metrics.

        Args:
            path: of the request, which decides on the form: a problem document or OpenAI's error object.
        """
        _record_reason(self.code)
        if openai_error.is_form_of(path):
            return self._in_openai_form()
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": self.code.title,
            "status": self.code.status,
            "code": self.code.name,
            "detail": _cut(self.detail, LONGEST_DETAIL),
        }
        if self.errors:
            body["errors"] = [
                {"field": error.field, "detail": _cut(error.detail, LONGEST_ERROR)} for error in self.errors
            ]
        return HttpResponse(
            # A surrogate that comes from the client has no UTF-8.
            json.dumps(body, ensure_ascii=False).encode(errors="replace"),
            status=self.code.status,
            reason=self.code.title,
            content_type=CONTENT_TYPE,
            headers=dict(self.headers),
        )

    def _in_openai_form(self) -> HttpResponse:
        status = openai_error.status_of(self.code)
        detail = _cut(self.detail, LONGEST_DETAIL)
        body = openai_error.error_object(self.code, detail, status=status, param=self.field_name)
        return JsonResponse(body, status=status, headers=dict(self.headers))


def invalid(errors: Sequence[FieldError], *, code: Code = codes.INVALID_FIELDS) -> Problem:
    """The 422 for a body that is valid JSON with invalid contents: the first errors, and how many more."""
    if (more := len(errors) - MAX_ERRORS) > 0:
        errors = [*errors[:MAX_ERRORS], FieldError("", f"And {more} more errors.")]
    return Problem(code=code, detail=" ".join(map(str, errors)), errors=errors)


def unavailable(detail: str, *, code: Code, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """The 503 for what is temporary: the same request may be sent again after `retry_after_s` seconds."""
    return Problem(code=code, detail=detail, headers={"Retry-After": str(retry_after_s)})


def problem_for(exc: Exception) -> Problem:
    """The problem that stands for `exc`; anything unexpected is a 500 that reveals no details."""
    if (meaning := meaning_of(exc)) is not None:
        return _registered(exc, meaning)
    match exc:
        case ValidationError():
            return invalid(list(field_errors(exc.detail)), code=_code_of(exc))
        case Throttled():
            wait = getattr(exc, "wait", None)
            headers = {} if wait is None else {"Retry-After": str(wait)}
            return Problem(code=_code_of(exc), detail=str(exc.detail), headers=headers)
        case APIException():
            return Problem(code=_code_of(exc), detail=str(exc.detail))
        case Http404():
            return Problem(code=codes.NOT_FOUND, detail="There is nothing at this address.")
        case PermissionDenied():
            return Problem(code=codes.FORBIDDEN, detail="This is not allowed.")
        case RequestDataTooBig():
            return Problem(code=codes.BODY_TOO_LARGE, detail="The body is larger than this service accepts.")
        case UnreadablePostError():
            return Problem(code=codes.INCOMPLETE_BODY, detail="The body ended before it was complete.")
        case SuspiciousOperation():
            return Problem(code=codes.MALFORMED_REQUEST, detail="The request is malformed.")
        case Error() if (detail := database_errors.detail_of(exc)) is not None:
            return unavailable(detail, code=codes.DATABASE_UNAVAILABLE)
        case _:
            return Problem(code=codes.INTERNAL_ERROR, detail=codes.INTERNAL_ERROR.meaning)


def _registered(exc: Exception, meaning: Meaning) -> Problem:
    detail = meaning.detail or str(exc)
    if meaning.field:
        return invalid([FieldError(meaning.field, detail)], code=meaning.code)
    if meaning.code.status == HTTPStatus.SERVICE_UNAVAILABLE:
        retry_after_s = getattr(exc, "retry_after_s", RETRY_AFTER_S)
        return unavailable(detail, code=meaning.code, retry_after_s=retry_after_s)
    return Problem(code=meaning.code, detail=detail)


def _code_of(exc: APIException) -> Code:
    """The code that the exception was raised with, or the general one of its status."""
    if isinstance(exc, ValidationError):
        return codes.named(exc.default_code) or codes.INVALID_FIELDS
    return codes.named(exc.get_codes()) or codes.of_status(exc.status_code)


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
    meaning = meaning_of(exc)
    if meaning.fault if meaning is not None else problem.code.status >= 500:
        request = context["request"]
        failed = f"{excerpt(request.method)} {excerpt(request.path, 256)} failed"
        if problem.code is codes.DATABASE_UNAVAILABLE:
            # Each request says it while the database is away. A trace would add nothing, and fill the disk.
            logger.error("%s: %s (%s)", failed, problem.detail, excerpt(str(exc).partition("\n")[0], 256))
        else:
            logger.error("%s", failed, exc_info=exc)
    return problem.response(context["request"].path)


def _record_reason(code: Code) -> None:
    if (record := request_record.current()) is not None:
        record.reason = code.name


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _handler(page: Callable[..., HttpResponse], exc: Exception) -> Callable[..., HttpResponse]:
    problem = problem_for(exc)

    def handle(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        _record_reason(problem.code)
        if request.path.startswith("/admin/"):
            return page(request, *args, **kwargs)
        return problem.response(request.path)

    return handle


# What Django answers itself, outside Django REST framework's views (named in the URLconf).
bad_request = _handler(defaults.bad_request, SuspiciousOperation())
permission_denied = _handler(defaults.permission_denied, PermissionDenied())
page_not_found = _handler(defaults.page_not_found, Http404())
server_error = _handler(defaults.server_error, Exception())
