"""The rules for every request, whatever its path: known host, a limited and plain body, no body for HEAD."""

from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponse

from llmservice.http import codes
from llmservice.http.problems import Problem


class IntakeMiddleware:
    """Refuses unknown hosts and oversized or compressed bodies, and empties answers to HEAD.

    `llmservice.server` gives every body a length, also a chunked one.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost:
            # Django would answer with its own page, in debug mode with a trace.
            detail = "The Host header names a host that is not allowed."
            return Problem(code=codes.UNKNOWN_HOST, detail=detail).response(request.path)
        limit: int = settings.MAX_BODY_BYTES
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal():
            detail = "The Content-Length header is not a number."
            return Problem(code=codes.MALFORMED_REQUEST, detail=detail).response(request.path)
        if int(length[:20]) > limit:
            return _too_large(limit, request.path)
        coding = request.headers.get("Content-Encoding", "").strip().lower()
        if coding not in ("", "identity"):
            return Problem(
                code=codes.UNSUPPORTED_ENCODING,
                detail=f"Send the body without Content-Encoding: {coding[:64]} is not supported.",
                headers={"Accept-Encoding": "identity"},
            ).response(request.path)
        response = self.get_response(request)
        if request.method == "HEAD" and not response.streaming:
            # Views answer HEAD like GET, and gunicorn warns about every body that it has to drop.
            response.content = b""
        return response


def _too_large(limit: int, path: str) -> HttpResponse:
    return Problem(
        code=codes.BODY_TOO_LARGE, detail=f"The body is larger than the {limit} bytes that are accepted."
    ).response(path)
