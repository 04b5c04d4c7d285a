"""Text of callers whom nobody knows yet is bounded before it reaches the database.

SQLite stores what PostgreSQL refuses (long strings, NUL, addresses with a zone): `make test-postgresql`.
"""

from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import services, tokens
from accounts.models import AddressAllowance, APIKeySecret, KeyEvent
from tests.problems import problem

pytestmark = pytest.mark.django_db

LOGIN = "/admin/login/"
ZONED = "fe80::1%" + "x" * 500


def log_in(client: Client, username: str, **headers: str) -> Any:
    data = {"username": username, "password": "a guess", "next": "/admin/"}
    return client.post(LOGIN, data, headers=headers)


@pytest.mark.parametrize(
    "username",
    ["x" * 151, "x" * 300, "\U0001f600" * 100_000, "\ufdfa" * 100, "nul\0", "\ud7ff\ue000" * 200],
    ids=range(6),
)
def test_a_login_name_that_no_account_can_have_is_refused_and_not_recorded(
    client: Client, username: str
) -> None:
    response = log_in(client, username)
    assert response.status_code == 200
    assert "errorlist" in response.content.decode()
    assert not AccessAttempt.objects.exists()


def test_the_longest_login_name_can_log_in(client: Client) -> None:
    User.objects.create_superuser("x" * 150, password="a guess")
    assert log_in(client, "x" * 150).status_code == 302


def test_what_else_a_failed_login_records_is_bounded(client: Client) -> None:
    long = "x" * 5000
    response = client.post(
        f"{LOGIN}?{long}={long}",
        {"username": "ada", "password": "a guess", "more": long},
        headers={"User-Agent": long, "Accept": long},
        REMOTE_ADDR=ZONED,
    )
    assert response.status_code == 200
    attempt = AccessAttempt.objects.get()
    assert attempt.ip_address == "fe80::1"
    assert len(attempt.user_agent) <= 255
    assert max(len(attempt.get_data), len(attempt.post_data), len(attempt.http_accept)) <= 1025


@pytest.mark.parametrize(
    "key", [r"aaaaaaaa\000b", "x" * 8000, "ABCDEFGH" * 4, "' OR 1=1 --'", r"\355\240\200" * 9]
)
def test_a_session_that_cannot_exist_is_none(
    client: Client, key: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(0):
        response = client.get("/admin/", headers={"Cookie": f'sessionid="{key}"'})
    assert response["Location"] == f"{LOGIN}?next=/admin/"


def test_a_session_that_exists_is_kept(client: Client) -> None:
    client.force_login(User.objects.create_superuser("ada"))
    assert client.get("/admin/").status_code == 200
    assert Session.objects.count() == 1


@pytest.mark.parametrize("secret", ["nul\0", "x" * 256, "x" * 257, "x" * 100_000, "\ud800"], ids=range(5))
def test_a_report_of_any_secret_is_answered(client: Client, secret: str) -> None:
    response = client.post("/keys/revoke", {"secret": secret}, content_type="application/json")
    assert response.status_code in {200, 422}


@pytest.mark.parametrize("address", [ZONED, "fe80::1%eth0", "fe80::1"])
def test_an_address_with_a_zone_is_stored_without_it(
    client: Client, settings: Settings, address: str
) -> None:
    settings.TRUSTED_PROXIES = ("10.0.0.0/8",)
    issued = services.create_key(name="search")
    forwarded: dict[str, Any] = {"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": address}
    for sent in ({"REMOTE_ADDR": address}, forwarded):
        problem(client.get("/keys/me", headers={"X-API-Key": tokens.generate()}, **sent), 403)
        response = client.get("/keys/me", headers={"X-API-Key": issued.plaintext}, **sent)
        assert response.status_code == 200
    assert APIKeySecret.objects.get().last_used_from == "fe80::1"
    assert {event.address for event in KeyEvent.objects.filter(kind="first_used")} == {"fe80::1"}
    assert AddressAllowance.objects.get().address == "fe80::/64"


@pytest.mark.parametrize("address", ["", "unix:", "nonsense" * 100, "1.2.3.4\0"])
def test_what_is_not_an_address_is_not_stored(client: Client, address: str) -> None:
    issued = services.create_key(name="search")
    response = client.get("/keys/me", headers={"X-API-Key": issued.plaintext}, REMOTE_ADDR=address)
    assert response.status_code == 200
    assert APIKeySecret.objects.get().last_used_from is None
