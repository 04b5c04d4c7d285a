"""Every address of the service declares who may use it; these tests find a new one that does not."""

import re
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.views import APIView

from accounts.authentication import APIKeyAuthentication, BearerAuthentication
from accounts.key_views import HasScope
from tests.problems import problem

# Without a key, and why.
OPEN = {
    "playground": "a page, which sends the key itself",
    "docs": "the documentation",
    "schema": "the documentation",
    "favicon": "for browsers",
    "health": "for probes",
    "ready": "for probes",
    "metrics": "has its own token, or answers this machine only",
    "revoke-secret": "for anyone who finds a secret",
    "not-found": "reports an unknown address",
}
# Their address ends in the name of a thing.
NAME_ONE = {"openai-model", "openai-stored-response"}


def patterns(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        address = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from patterns(pattern, address)
        else:
            yield address, pattern


def api_views() -> dict[str, type[APIView]]:
    return {
        str(pattern.name): view
        for _, pattern in patterns(get_resolver())
        if (view := getattr(pattern.callback, "cls", None)) is not None
    }


def test_every_view_of_the_api_requires_a_key_or_is_listed_as_open() -> None:
    for name, view in api_views().items():
        if name in OPEN:
            assert not view.authentication_classes, name
        else:
            expected = BearerAuthentication if name.startswith("openai-") else APIKeyAuthentication
            assert list(view.authentication_classes) == [expected], name
            assert list(view.permission_classes) == [HasScope], name
    assert set(OPEN) < set(api_views())


@pytest.mark.django_db
def test_an_undocumented_method_is_refused_before_the_key_is_checked(client: Client) -> None:
    """OPTIONS too."""
    for name in set(api_views()) - {"not-found"}:
        for method in ("OPTIONS", "PUT", "TRACE", "NONSENSE"):
            response = client.generic(method, reverse(name, args=["a"] if name in NAME_ONE else []))
            assert response.status_code == 405
            if not name.startswith("openai-"):
                problem(response, 405)
            assert response["Allow"] in {"GET, HEAD", "POST", "GET, DELETE, HEAD"}, name


def admin_addresses() -> list[str]:
    addresses = [address for address, _ in patterns(get_resolver()) if address.startswith("admin/")]
    return sorted({"/" + re.sub(r"<[^>]+>", "1", address).strip("^$") for address in addresses})


@pytest.mark.django_db
@pytest.mark.parametrize("signed_in", [False, True])
def test_only_staff_may_open_the_pages_of_the_admin(client: Client, signed_in: bool) -> None:
    if signed_in:
        client.force_login(User.objects.create_user("nobody"))
    for address in admin_addresses():
        if address in {"/admin/login/", "/admin/logout/"} or "(" in address:
            continue
        for send in (client.get, client.post):
            response = send(address)
            assert response.status_code in {301, 302, 403, 404, 405}, address
            if response.status_code in {301, 302}:
                assert "/login/" in response["Location"] or response["Location"].endswith("/"), address
