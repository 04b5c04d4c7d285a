"""The rules for every request, whatever its path: known host, limited body, no body in answers to HEAD."""

import io
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse

from llmservice.http import codes
from llmservice.http.problems import Problem


class IntakeMiddleware:
    """Refuses unknown hosts and oversized bodies, reads chunked bodies, and empties answers to HEAD.

    A WSGI server passes on a chunked body without a length, and Django then reads nothing. So this middleware
    reads the body, up to `settings.MAX_BODY_BYTES`, and replaces the request by one with the body's length.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost:
            # Django would answer with its own page, in debug mode with a trace.
            detail = "The Host header names a host that is not allowed."
            return Problem(code=codes.UNKNOWN_HOST, detail=detail).response()
        limit: int = settings.MAX_BODY_BYTES
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal():
            detail = "The Content-Length header is not a number."
            return Problem(code=codes.MALFORMED_REQUEST, detail=detail).response()
        if int(length[:20]) > limit:
            return _too_large(limit)
        if isinstance(request, WSGIRequest) and _is_chunked(request):
            try:
                body = request.environ["wsgi.input"].read(limit + 1)
            except Exception:  # Each WSGI server raises its own errors.
                detail = "The chunked body is malformed or incomplete."
                return Problem(code=codes.INCOMPLETE_BODY, detail=detail).response()
            if len(body) > limit:
                return _too_large(limit)
            read = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            request = WSGIRequest({**request.environ, **read})
        response = self.get_response(request)
        if request.method == "HEAD" and not response.streaming:
            # Views answer HEAD like GET, and gunicorn warns about every body that it has to drop.
            response.content = b""
        return response


def _is_chunked(request: WSGIRequest) -> bool:
    # Only then does the stream end with the body; otherwise reading would wait for more data.
    return bool(request.environ.get("wsgi.input_terminated")) and "Transfer-Encoding" in request.headers


def _too_large(limit: int) -> HttpResponse:
    return Problem(
        code=codes.BODY_TOO_LARGE, detail=f"The body is larger than the {limit} bytes that are accepted."
    ).response()
