"""Where a request came from, when a proxy that the operator trusts has passed it on."""

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from llmservice.http import networks


class TrustedProxiesMiddleware:
    """Takes the client's address and scheme from the headers of trusted proxies, and of nobody else.

    Afterwards `REMOTE_ADDR` is the client's address, whoever looks at it, and `is_secure()` is as the client
    sees it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        meta = request.META
        if _trusted(meta.get("REMOTE_ADDR", "")):
            meta["REMOTE_ADDR"] = _client(request.headers.get("X-Forwarded-For", "")) or meta["REMOTE_ADDR"]
            # With several proxies, the word of the first counts: it is the one that the client talks to.
            scheme = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
            meta["wsgi.url_scheme"] = "https" if scheme == "https" else "http"
        return self.get_response(request)


def _client(forwarded_for: str) -> str | None:
    """The last address that no trusted proxy has: what stands before it may be made up by the client."""
    client = None
    for hop in reversed([hop.strip() for hop in forwarded_for.split(",")]):
        if not _is_address(hop):
            break
        client = hop
        if not _trusted(hop):
            break
    return client


def _trusted(address: str) -> bool:
    return bool(settings.TRUSTED_PROXIES) and networks.contain(settings.TRUSTED_PROXIES, address)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
