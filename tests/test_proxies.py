import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from pytest_django import Settings

from llmservice.proxies import TrustedProxiesMiddleware


def seen(address: str, **headers: str) -> tuple[str, bool]:
    """The client's address, and whether it uses HTTPS, as the service sees a request from `address`."""
    requests: list[HttpRequest] = []

    def view(request: HttpRequest) -> HttpResponse:
        requests.append(request)
        return HttpResponse()

    request = RequestFactory().get("/", headers=headers, REMOTE_ADDR=address)
    TrustedProxiesMiddleware(view)(request)
    return requests[0].META["REMOTE_ADDR"], requests[0].is_secure()


FORWARDED = {"X-Forwarded-For": "198.51.100.9", "X-Forwarded-Proto": "https"}


def test_without_trusted_proxies_the_headers_are_ignored() -> None:
    assert seen("10.0.0.1", **FORWARDED) == ("10.0.0.1", False)


def test_the_headers_of_trusted_proxies_only_are_used(settings: Settings) -> None:
    settings.TRUSTED_PROXIES = ("10.0.0.0/8",)

    assert seen("10.0.0.1", **FORWARDED) == ("198.51.100.9", True)
    assert seen("::ffff:10.0.0.1", **FORWARDED) == ("198.51.100.9", True)
    assert seen("192.0.2.1", **FORWARDED) == ("192.0.2.1", False)


@pytest.mark.parametrize(
    ("forwarded_for", "expected"),
    [
        ("203.0.113.5, 198.51.100.9", "198.51.100.9"),  # the client forged the first
        ("203.0.113.5, 198.51.100.9, 10.0.0.2", "198.51.100.9"),  # two proxies
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("2001:db8::1", "2001:db8::1"),
        ("nonsense", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_address_that_is_not_a_proxy(
    settings: Settings, forwarded_for: str, expected: str
) -> None:
    settings.TRUSTED_PROXIES = ("10.0.0.0/8",)

    assert seen("10.0.0.1", **{"X-Forwarded-For": forwarded_for})[0] == expected
