"""The client's address and scheme of a request that a trusted proxy has forwarded."""

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from llmservice.http import networks


class TrustedProxiesMiddleware:
    """Takes the client's address and scheme from the headers of trusted proxies only.

    It sets `REMOTE_ADDR` to the client's address, and `is_secure()` is true if the client uses HTTPS.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        meta = request.META
        if _trusted(meta.get("REMOTE_ADDR", "")):
            meta["REMOTE_ADDR"] = _client(request.headers.get("X-Forwarded-For", "")) or meta["REMOTE_ADDR"]
            # With several proxies, the first value is that of the proxy that the client is connected to.
            scheme = request.headers.get("X-Forwarded-Proto", "").split(",")[0].strip().lower()
            meta["wsgi.url_scheme"] = "https" if scheme == "https" else "http"
        return self.get_response(request)


def _client(forwarded_for: str) -> str | None:
    """The last address that is not a trusted proxy's; the client may have forged what precedes it."""
    client = None
    for text in reversed(forwarded_for.split(",")):
        hop = networks.canonical(text.strip())
        if hop is None:
            break
        client = hop
        if not _trusted(hop):
            break
    return client


def _trusted(address: str) -> bool:
    return bool(settings.TRUSTED_PROXIES) and networks.contain(settings.TRUSTED_PROXIES, address)
