"""The header `Content-Security-Policy` (W3C, level 3): what a browser may load and run in a page.

Nothing inline and nothing from other hosts, so that text which a page fails to escape is never executed.
"""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

HEADER = "Content-Security-Policy"

# For HTML pages: the admin and Swagger UI, whose style sheet embeds icons as data.
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
# For everything else, which programs read. A browser that shows it as a page loads and runs nothing.
DATA = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"


class ContentSecurityPolicyMiddleware:
    """Adds the policy to every answer; precedes every middleware that may answer by itself."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_page = response.headers.get("Content-Type", "").startswith("text/html")
        response.headers[HEADER] = PAGE if is_page else DATA
        return response
