"""The answers that the server itself gives: errors in the form of those of the application."""

import json
from functools import lru_cache
from http import HTTPStatus
from typing import Any

from gunicorn.http import errors

from llmservice.http import codes, openai_error

# All other parse errors are answered with 400.
STATUSES: dict[type[errors.ParseException], int] = {
    errors.LimitRequestLine: 414,
    errors.LimitRequestHeaders: 431,
    errors.ExpectationFailed: 417,
    errors.UnsupportedTransferCoding: 501,
    errors.InvalidHTTPVersion: 505,
}
DETAILS = {
    400: "The request is not valid HTTP: {reason}.",
    408: "The request did not arrive in time: {reason}.",
    414: "The address is too long.",
    417: "The only supported expectation is 100-continue.",
    431: "The headers are too many or too large.",
    500: "The service failed to answer; its log says why.",
    501: "The only supported transfer coding is chunked.",
    505: "Send the request in HTTP/1.1 or HTTP/1.0.",
}


def status_of(error: errors.ParseException) -> int:
    """The status that answers a request that is not valid HTTP."""
    return STATUSES.get(type(error), 400)


@lru_cache(64)
def answer(status: int, *, openai_form: bool = False, reason: str = "", detail: str | None = None) -> bytes:
    """A whole answer with an error, after which the connection closes.

    Args:
        openai_form: it is OpenAI's error object, not a problem document.
    """
    phrase = HTTPStatus(status).phrase
    detail = detail or DETAILS[status].format(reason=reason.rstrip("."))
    code = codes.of_status(status)
    content_type = "application/problem+json"
    error: dict[str, Any] = {
        "type": "about:blank",
        "title": phrase,
        "status": status,
        "code": code.name,
        "detail": detail,
    }
    if openai_form:
        content_type = "application/json"
        error = openai_error.error_object(code, detail, status=status)
    body = json.dumps(error).encode()
    head = (
        f"HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
