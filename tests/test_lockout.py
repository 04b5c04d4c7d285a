"""The admin's login locks out repeated wrong passwords."""

import logging
from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client

LOGIN = "/admin/login/"
PASSWORD = "correct horse battery"

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def ada() -> User:
    return User.objects.create_superuser("ada", password=PASSWORD)


def log_in(client: Client, password: str, username: str = "ada", address: str = "192.0.2.1") -> Any:
    data = {"username": username, "password": password, "next": "/admin/"}
    return client.post(LOGIN, data, REMOTE_ADDR=address)


def guess_until_locked_out(client: Client) -> Any:
    for _ in range(settings.AXES_FAILURE_LIMIT):
        response = log_in(client, "a guess")
    return response


def test_after_five_wrong_passwords_even_the_right_one_is_refused_with_the_time_to_wait(
    client: Client,
) -> None:
    for _ in range(4):
        assert log_in(client, "a guess").status_code == 200
    for password in ("a guess", PASSWORD):
        refused = log_in(client, password)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "900"
        assert "Wait 15 minutes" in refused.content.decode()
    assert "sessionid" not in client.cookies


def test_the_lockout_ends_by_itself_and_attempts_meanwhile_do_not_extend_it(client: Client) -> None:
    guess_until_locked_out(client)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=10))
    assert log_in(client, PASSWORD).status_code == 429
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=5, seconds=1))
    assert log_in(client, PASSWORD)["Location"] == "/admin/"


def test_a_lockout_affects_neither_other_addresses_nor_other_accounts(client: Client) -> None:
    User.objects.create_superuser("bob", password=PASSWORD)
    guess_until_locked_out(client)
    assert log_in(client, PASSWORD, address="192.0.2.2").status_code == 302
    assert log_in(client, PASSWORD, username="bob").status_code == 302


def test_a_successful_login_resets_the_failures(client: Client) -> None:
    for _ in range(2):
        for _ in range(4):
            log_in(client, "a guess")
        assert log_in(client, PASSWORD).status_code == 302


def test_credentials_are_not_logged_and_passwords_are_not_stored(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    guess_until_locked_out(client)
    log_in(client, PASSWORD, username="a password typed as the name")
    assert "192.0.2.1" in caplog.text
    stored = repr(list(AccessAttempt.objects.values()))
    assert PASSWORD not in stored
    assert "a guess" not in stored
    for typed in ("a guess", PASSWORD, "a password typed as the name"):
        assert typed not in caplog.text
