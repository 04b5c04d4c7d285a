"""The first middleware that looks at a request: what holds on every path, before and after all else."""

import io
from collections.abc import Callable

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpRequest, HttpResponse

from llmservice.http.problems import Problem


class IntakeMiddleware:
    """Refuses unknown hosts and oversized bodies, gives chunked bodies a length and HEAD answers no body.

    A WSGI server hands over a chunked body without a length, and Django reads none of it. So it is read here,
    as far as `settings.MAX_BODY_BYTES` allows, and the request is made anew with what came.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        try:
            request.get_host()
        except DisallowedHost:
            # Otherwise Django answers with a page of its own, with a trace where DEBUG is on.
            return Problem(status=400, detail="The Host header does not name this service.").response()
        limit: int = settings.MAX_BODY_BYTES
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdecimal():
            return Problem(status=400, detail="The Content-Length header is not a number.").response()
        if int(length[:20]) > limit:
            return _too_large(limit)
        if isinstance(request, WSGIRequest) and _is_chunked(request):
            try:
                body = request.environ["wsgi.input"].read(limit + 1)
            except Exception:  # Each WSGI server has its own errors for this.
                return Problem(status=400, detail="The chunked body is malformed or incomplete.").response()
            if len(body) > limit:
                return _too_large(limit)
            read = {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
            request = WSGIRequest({**request.environ, **read})
        response = self.get_response(request)
        if request.method == "HEAD" and not response.streaming:
            # Views answer HEAD as they do GET, and gunicorn warns of each body that it then has to drop.
            response.content = b""
        return response


def _is_chunked(request: WSGIRequest) -> bool:
    # Without this promise of the server, reading to the end would wait for more on an open connection.
    return bool(request.environ.get("wsgi.input_terminated")) and "Transfer-Encoding" in request.headers


def _too_large(limit: int) -> HttpResponse:
    return Problem(
        status=413, detail=f"The body is larger than the {limit} bytes that are accepted."
    ).response()
