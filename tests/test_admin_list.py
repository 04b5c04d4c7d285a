"""The admin's list of keys."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from accounts import secret_use, services
from accounts.models import APIKey, APIKeySecret, DailyUsage
from tests.admin_pages import LIST, text

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", owner="Ada").key


def test_the_list_shows_state_prefix_owner_and_last_use(admin_client: Client) -> None:
    issued = services.create_key(name="search", owner="Ada")
    secret_use.record_use(secret=issued.secret, now=timezone.now() - timedelta(minutes=5))
    page = text(admin_client.get(LIST))
    for shown in ("search", "Ada", "Active", f"{issued.secret.prefix}…", "5\xa0minutes ago"):
        assert shown in page


def row_of(page: str, name: str) -> str:
    """The text of the row of the key's name in the list."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.DOTALL)
    (row,) = [row for row in rows if f">{name}</a>" in row]
    return " ".join(re.sub(r"<[^>]+>", " ", row).split())


def test_the_list_shows_limits_usage_and_creation(admin_client: Client, settings: Settings) -> None:
    settings.LLM_KEY_REQUESTS_PER_MINUTE = 90
    limits = {"tokens_per_day": 2_500_000, "max_concurrent": 4}
    limited = services.create_key(name="limited", limits=limits).key
    services.create_key(name="unlimited", limits={"requests_per_minute": 0})
    APIKey.objects.filter(pk=limited.pk).update(created_at=timezone.now() - 40 * DAY)
    today = timezone.now().date()
    for days_ago, tokens in ((0, 1_000), (29, 200), (30, 50_000)):
        day = today - days_ago * DAY
        DailyUsage.objects.create(key=limited, day=day, prompt_tokens=tokens, completion_tokens=34)
    page = text(admin_client.get(LIST))
    shown = "90/min 2.5M tokens/day 4 at a time 1.27k never 1 month ago never"
    assert shown in row_of(page, "limited")
    assert "unlimited 0 never just now never" in row_of(page, "unlimited")


def test_the_usage_in_the_list_needs_its_permission(client: Client, key: APIKey) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(viewer)
    page = text(client.get(LIST))
    assert ">search</a>" in page
    assert "usage_display" not in page


def test_an_empty_list_offers_to_create_a_key_and_a_search_without_result_to_show_all(
    admin_client: Client,
) -> None:
    page = text(admin_client.get(LIST))
    assert "There are no API keys yet" in page
    assert f'href="{LIST}add/">Create the first key</a>' in page
    services.create_key(name="search")
    page = text(admin_client.get(LIST, {"q": "nothing"}))
    assert 'No API key matches. <a href="?">Show all API keys</a>' in page
    assert "There are no API keys yet" not in page


@pytest.fixture
def one_of_each() -> None:
    now = timezone.now()
    services.create_key(name="key-active")
    services.disable(key=services.create_key(name="key-disabled").key)
    services.revoke(key=services.create_key(name="key-revoked").key)
    services.create_key(name="key-expired", expires_at=now - HOUR)
    services.create_key(name="key-expiring", expires_at=now + 13 * DAY)
    services.create_key(name="key-later", expires_at=now + 15 * DAY)
    services.rotate(key=services.create_key(name="key-in_grace").key, grace=HOUR)
    services.rotate(key=services.create_key(name="key-rotated").key, grace=timedelta(0))
    services.create_key(name="key-unused")
    services.create_key(name="key-used")
    APIKey.objects.filter(name__in=["key-unused", "key-used"]).update(created_at=now - 40 * DAY)
    APIKeySecret.objects.filter(key__name="key-unused").update(last_used_at=now - 31 * DAY)
    APIKeySecret.objects.filter(key__name="key-used").update(last_used_at=now - 29 * DAY)


STATES = ("active", "expiring", "in_grace", "unused", "disabled", "expired", "revoked")


@pytest.mark.usefixtures("one_of_each")
@pytest.mark.parametrize("state", STATES[1:])
def test_the_list_is_filtered_by_state(admin_client: Client, state: str) -> None:
    page = text(admin_client.get(LIST, {"state": state}))
    assert set(re.findall(r">(key-\w+)</a>", page)) == {f"key-{state}"}


@pytest.mark.usefixtures("one_of_each")
def test_active_keys_are_listed_as_active_whatever_their_conditions(admin_client: Client) -> None:
    page = text(admin_client.get(LIST, {"state": "active"}))
    active = {"active", "expiring", "later", "in_grace", "rotated", "unused", "used"}
    assert set(re.findall(r">key-(\w+)</a>", page)) == active


@pytest.mark.usefixtures("one_of_each")
def test_the_list_shows_the_conditions_of_keys_and_how_many_keys_have_each(
    admin_client: Client,
) -> None:
    page = text(admin_client.get(LIST))
    rows = dict(re.findall(r">(key-\w+)</a></th>(.*?)</tr>", page, flags=re.DOTALL))
    for name, tag in (
        ("expiring", "Expiring within 14 days"),
        ("in_grace", "In grace period"),
        ("unused", "Unused for 30 days"),
    ):
        assert [row for row, cells in rows.items() if tag in cells] == [f"key-{name}"]
        assert f"{tag} (1)" in page
    assert "Active (7)" in page


def test_an_unknown_state_filters_nothing(admin_client: Client, key: APIKey) -> None:
    assert ">search</a>" in text(admin_client.get(LIST, {"state": "odd"}))


def test_a_key_is_found_by_the_start_of_its_secret(admin_client: Client) -> None:
    wanted = services.create_key(name="wanted")
    services.create_key(name="unwanted-one")
    page = text(admin_client.get(LIST, {"q": wanted.secret.prefix}))
    assert ">wanted</a>" in page
    assert ">unwanted-one</a>" not in page


def test_the_list_needs_the_same_queries_for_any_number_of_keys(admin_client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(LIST)
        return len(captured)

    services.create_key(name="first")
    few = queries()
    for index in range(5):
        services.create_key(name=f"key {index}")
    assert queries() == few
