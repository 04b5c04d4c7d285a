"""The events of keys in the admin, which nobody can change."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from accounts import services
from accounts.events import Actor
from accounts.models import APIKey, EventKind, KeyEvent
from tests.admin_pages import text

LIST = "/admin/accounts/keyevent/"
ADA = Actor(name="ada", address="192.0.2.1")
BOB = Actor(name="bob", address="192.0.2.2")

pytestmark = pytest.mark.django_db


@pytest.fixture
def keys() -> tuple[APIKey, APIKey]:
    search = services.create_key(name="search", by=ADA).key
    reports = services.create_key(name="reports", by=BOB).key
    services.rotate(key=search, grace=timedelta(days=7), reason="Quarterly", by=ADA)
    services.disable(key=reports, reason="Over budget", by=BOB)
    return search, reports


def events_shown(page: str) -> list[tuple[str, str]]:
    """The kind and the key of each row of the list, in order."""
    keys = re.findall(r'field-key_link"><a [^>]*>([^<]*)</a>', page)
    kinds = re.findall(r'field-what"><span [^>]*>([^<]*)</span>', page)
    return list(zip(kinds, keys, strict=True))


@pytest.mark.usefixtures("keys")
def test_the_list_shows_the_actor_the_address_and_the_reason_of_each_event(admin_client: Client) -> None:
    page = text(admin_client.get(LIST))
    assert events_shown(page) == [
        ("Disabled", "reports"),
        ("Rotated", "search"),
        ("Created", "reports"),
        ("Created", "search"),
    ]
    for shown in (
        "ada",
        "192.0.2.1",
        "grace period of 7 days; “Quarterly”",
        "bob",
        "192.0.2.2",
        "“Over budget”",
    ):
        assert shown in page


@pytest.mark.usefixtures("keys")
def test_the_times_of_the_list_name_their_zone(admin_client: Client) -> None:
    times = re.findall(r'field-when">([^<]*)<', text(admin_client.get(LIST)))
    assert len(times) == 4
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", time) for time in times)


def test_a_change_of_an_earlier_version_is_shown_without_old_values(
    admin_client: Client, keys: tuple[APIKey, APIKey]
) -> None:
    details: dict[str, dict[str, object]] = {"limits": {"tokens_per_day": 5000}}
    KeyEvent.objects.create(key=keys[0], kind=EventKind.LIMITS_CHANGED, actor="ada", details=details)
    details = {"fields": {"expires_at": "2027-01-31T00:00:00+00:00", "allowed_networks": []}}
    KeyEvent.objects.create(key=keys[0], kind=EventKind.CHANGED, actor="ada", details=details)
    page = text(admin_client.get(LIST))
    assert ">tokens per day: 5,000<" in page
    assert ">allowed networks: all; expires at: 2027-01-31 00:00:00 UTC<" in page


def test_the_list_can_be_filtered_by_kind_and_key_and_searched(
    admin_client: Client, keys: tuple[APIKey, APIKey]
) -> None:
    search, _ = keys
    for query, expected in (
        ({"kind__exact": EventKind.CREATED.value}, [("Created", "reports"), ("Created", "search")]),
        ({"key__id__exact": str(search.pk)}, [("Rotated", "search"), ("Created", "search")]),
        ({"q": "bob"}, [("Disabled", "reports"), ("Created", "reports")]),
    ):
        assert events_shown(text(admin_client.get(LIST, query))) == expected
    assert "Events of search" in text(admin_client.get(LIST, {"key__id__exact": str(search.pk)}))


def test_the_history_of_a_key_is_the_list_of_its_events(
    admin_client: Client, keys: tuple[APIKey, APIKey]
) -> None:
    history = reverse("admin:accounts_apikey_history", args=[keys[0].pk])
    page = text(admin_client.get(history, follow=True))
    assert events_shown(page) == [("Rotated", "search"), ("Created", "search")]


@pytest.mark.usefixtures("keys")
def test_nobody_can_add_change_or_delete_an_event(admin_client: Client) -> None:
    before = list(KeyEvent.objects.values())
    event = KeyEvent.objects.first()
    assert event is not None
    assert admin_client.post(f"{LIST}add/", {}).status_code == 403
    assert admin_client.post(f"{LIST}{event.pk}/change/", {"actor": "eve"}).status_code == 403
    assert admin_client.post(f"{LIST}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [event.pk], "post": "yes"}
    admin_client.post(LIST, chosen)
    assert list(KeyEvent.objects.values()) == before


def test_events_need_their_own_permission(client: Client) -> None:
    staff = User.objects.create_user("staff", is_staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_apikey", "change_apikey"]))
    client.force_login(staff)
    assert client.get(LIST).status_code == 403
    staff.user_permissions.set(Permission.objects.filter(codename="view_keyevent"))
    assert client.get(LIST).status_code == 200
