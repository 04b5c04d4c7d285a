"""The admin's actions on one key: their effects, and what is stored."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import secret_use, services, tokens
from accounts.models import APIKey, APIKeySecret, EventKind, KeyEvent, KeyState
from accounts.secret_lookup import find_secret
from tests.admin_pages import REASON, act, change, create, rotate, shown_secret, text, url

HOUR = timedelta(hours=1)
SECRET = "llms_"

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", owner="Ada").key


def is_shown(response: Any) -> bool:
    return 'id="key-secret"' in text(response)


# Rotation


def test_rotation_shows_the_new_secret_once_and_the_old_one_has_a_grace_period(
    admin_client: Client,
) -> None:
    first = services.create_key(name="search")
    response = rotate(admin_client, first.key)
    assert response.status_code == 200
    assert response.redirect_chain == []
    assert "no-store" in response["Cache-Control"]
    second = find_secret(shown_secret(response))
    assert second is not None
    assert second.key == first.key
    old = APIKeySecret.objects.get(pk=first.secret.pk)
    assert old.expires_at is not None
    assert old.is_live
    assert abs(old.expires_at - timezone.now() - HOUR) < timedelta(minutes=1)
    page = text(admin_client.get(url("change", first.key)))
    assert str(old) in page
    assert str(second) in page
    assert "(grace period)" in page


@pytest.mark.parametrize(("grace", "live"), [("0", 1), ("3600", 2), ("86400", 2), ("604800", 2)])
def test_each_offered_grace_period_works(admin_client: Client, key: APIKey, grace: str, live: int) -> None:
    rotate(admin_client, key, grace)
    assert APIKeySecret.objects.filter(key=key).live().count() == live


def test_a_grace_period_of_any_number_of_hours_works(admin_client: Client, key: APIKey) -> None:
    rotate(admin_client, key, "other", hours="36", reason="Quarterly")
    old = APIKeySecret.objects.get(expires_at__isnull=False)
    assert old.expires_at is not None
    assert abs(old.expires_at - timezone.now() - 36 * HOUR) < timedelta(minutes=1)
    event = KeyEvent.objects.get(kind=EventKind.ROTATED)
    assert event.details == {"grace_s": 36 * 3600, "reason": "Quarterly"}


@pytest.mark.parametrize("grace", ["", "-1", "31536000", "soon"])
def test_any_other_grace_period_is_refused(admin_client: Client, key: APIKey, grace: str) -> None:
    assert "Choose when" in text(rotate(admin_client, key, grace))
    assert APIKeySecret.objects.count() == 1


@pytest.mark.parametrize("hours", ["", "0", "-3", "2161", "a day"])
def test_hours_out_of_range_are_refused(admin_client: Client, key: APIKey, hours: str) -> None:
    response = rotate(admin_client, key, "other", hours=hours)
    assert "errorlist" in text(response)
    assert not is_shown(response)
    assert APIKeySecret.objects.count() == 1


def test_hours_are_ignored_if_another_grace_period_is_chosen(admin_client: Client, key: APIKey) -> None:
    assert is_shown(rotate(admin_client, key, "3600", hours="a day"))


def test_submitting_a_rotation_again_is_refused_with_a_message(admin_client: Client, key: APIKey) -> None:
    rotate(admin_client, key)
    again = rotate(admin_client, key, grace="0")
    assert "has been rotated since you opened it" in text(again)
    assert not is_shown(again)
    assert APIKeySecret.objects.filter(key=key).live().count() == 2


def test_during_a_grace_period_only_what_works_is_offered(admin_client: Client, key: APIKey) -> None:
    offered = r'name="grace" value="(\w+)"'
    assert len(re.findall(offered, text(admin_client.get(url("rotate", key))))) == 5
    rotate(admin_client, key)
    page = text(admin_client.get(url("rotate", key)))
    assert re.findall(offered, page) == ["0"]
    assert f'href="{url("end_grace", key)}">End grace first…</a>' in page
    assert 'name="hours"' not in page
    assert "This key already has two live secrets" in text(rotate(admin_client, key, rotations=1))
    assert is_shown(rotate(admin_client, key, grace="0", rotations=1))


def test_after_the_grace_period_was_ended_every_choice_is_offered(admin_client: Client, key: APIKey) -> None:
    rotate(admin_client, key)
    act(admin_client, "end_grace", key)
    assert is_shown(rotate(admin_client, key, grace="86400", rotations=1))


def test_opening_a_form_changes_nothing(admin_client: Client, key: APIKey) -> None:
    page = text(admin_client.get(url("rotate", key)))
    assert 'name="rotations" value="0"' in page
    for action in ("end_grace", "disable", "enable", "revoke"):
        assert admin_client.get(url(action, key)).status_code == 200
    assert APIKeySecret.objects.count() == 1
    assert APIKey.objects.get().state is KeyState.ACTIVE


# The grace period


def test_the_page_says_whether_and_from_where_the_old_secret_is_still_in_use(
    admin_client: Client, key: APIKey
) -> None:
    old = APIKeySecret.objects.get()
    secret_use.record_use(secret=old, now=timezone.now() - HOUR, address="192.0.2.7")
    rotate(admin_client, key)
    page = text(admin_client.get(url("change", key)))
    assert "has not been used since the rotation" in page
    old.refresh_from_db()
    secret_use.record_use(secret=old, now=timezone.now(), address="192.0.2.8")
    page = text(admin_client.get(url("change", key)))
    assert "is still in use" in page
    assert "from 192.0.2.8" in page


def test_the_grace_period_can_be_ended_early(admin_client: Client) -> None:
    first = services.create_key(name="search")
    second = shown_secret(rotate(admin_client, first.key))
    page = text(act(admin_client, "end_grace", first.key))
    assert "Ended the grace period of the API key" in page
    assert url("end_grace", first.key) not in page
    old = find_secret(first.plaintext)
    new = find_secret(second)
    assert old is not None
    assert new is not None
    assert (old.is_live, new.is_live) == (False, True)
    assert "This key has no secret in a grace period" in text(act(admin_client, "end_grace", first.key))


# Disable, enable, revoke


def test_a_key_is_disabled_enabled_and_revoked_by_post_only(admin_client: Client, key: APIKey) -> None:
    states = []
    for action in ("disable", "enable", "revoke"):
        before = APIKey.objects.get().state
        assert "the API key “search”" in text(act(admin_client, action, key))
        states.append((before, APIKey.objects.get().state))
    active, disabled, revoked = KeyState.ACTIVE, KeyState.DISABLED, KeyState.REVOKED
    assert states == [(active, disabled), (disabled, active), (active, revoked)]
    events = KeyEvent.objects.filter(actor="admin").order_by("pk")
    assert [(event.kind, event.details) for event in events] == [
        (kind, {"reason": REASON}) for kind in (EventKind.DISABLED, EventKind.ENABLED, EventKind.REVOKED)
    ]
    assert {event.address for event in events} == {"127.0.0.1"}


def test_a_key_is_not_revoked_without_a_reason(admin_client: Client, key: APIKey) -> None:
    assert "Enter a reason" in text(act(admin_client, "revoke", key, reason=" "))
    assert APIKey.objects.get().state is KeyState.ACTIVE
    act(admin_client, "disable", key, reason="")
    assert APIKey.objects.get().state is KeyState.DISABLED


def test_a_revoked_key_can_be_viewed_but_not_changed(admin_client: Client, key: APIKey) -> None:
    services.revoke(key=key)
    page = text(admin_client.get(url("change", key)))
    assert "Revoked" in page
    assert url("enable", key) not in page
    assert change(admin_client, key, name="other").status_code == 403
    for action in ("disable", "enable", "revoke"):
        assert "permanent" in text(act(admin_client, action, key))
    assert "permanent" in text(rotate(admin_client, key))
    assert APIKey.objects.get().state is KeyState.REVOKED


def test_an_expired_key_is_not_offered_for_rotation(admin_client: Client) -> None:
    key = services.create_key(name="search", expires_at=timezone.now() - HOUR).key
    assert url("rotate", key) not in text(admin_client.get(url("change", key)))
    assert "set a later expiry" in text(rotate(admin_client, key))


# What is stored


def everything_stored(client: Client) -> Iterator[str]:
    """Each row of each table, the content of the sessions, and the browser's cookies."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            for row in cursor.fetchall():
                yield f"{table} {row!r}"
    for session in Session.objects.all():
        yield repr(session.get_decoded())
    yield repr(client.cookies)


def test_no_secret_is_stored_anywhere_in_the_life_of_a_key(
    admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    created = shown_secret(create(admin_client))
    key = APIKey.objects.get()
    rotated = shown_secret(rotate(admin_client, key))
    rotate(admin_client, key)  # Refused, which leaves a message.
    for plaintext in (created, rotated):
        admin_client.post("/generate", {}, content_type="application/json", headers={"X-API-Key": plaintext})
    for action in ("end_grace", "disable", "enable", "revoke"):
        act(admin_client, action, key)
    stored = list(everything_stored(admin_client))
    assert any(tokens.digest(created) in entry for entry in stored)
    assert any(tokens.digest(rotated) in entry for entry in stored)
    assert LogEntry.objects.count() == 6
    for plaintext in (created, rotated):
        body = plaintext.removeprefix(tokens.PREFIX)
        assert not [entry for entry in stored if body in entry]
        assert body not in caplog.text
