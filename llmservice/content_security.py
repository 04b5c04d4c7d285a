"""What a browser may load and run on an answer of this service: the header `Content-Security-Policy`.

Nothing inline and nothing from another host, so that a text which slips into a page unescaped stays a text.
The language is that of W3C's Content Security Policy, level 3.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"

# The pages: the admin and Swagger UI, whose style sheet carries its icons as data.
PAGE = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
# All else is read by programs; should a browser take it for a page, it loads and runs nothing.
DATA = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"


class ContentSecurityPolicyMiddleware:
    """Gives every answer its policy; it stands before all that may answer by itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        response.headers[HEADER] = PAGE if is_page else DATA
        return response
