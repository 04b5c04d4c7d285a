"""The admin's pages to create and edit a key."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts import services
from accounts.events import Actor
from accounts.models import APIKey, APIKeySecret, EventKind, KeyEvent, KeyState
from accounts.secret_lookup import find_secret
from tests.admin_pages import LIST, change, create, shown_secret, text, url

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
ADA = Actor(name="ada", address="192.0.2.1")

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", owner="Ada").key


# Creating a key


def test_a_new_secret_is_shown_once_in_the_answer_itself(admin_client: Client, admin_user: User) -> None:
    response = create(admin_client, owner="Ada", note="For the help centre")
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    secret = find_secret(shown_secret(response))
    assert secret is not None
    assert (secret.key.name, secret.key.owner, secret.key.note) == ("search", "Ada", "For the help centre")
    assert secret.key.created_by == admin_user


def test_a_new_key_has_the_networks_scopes_and_limits_of_the_form(admin_client: Client) -> None:
    create(
        admin_client,
        allowed_networks="10.0.0.0/8, 192.0.2.7\n2001:DB8::/32\n",
        scopes=["generate"],
        requests_per_minute="60",
        tokens_per_day="0",
    )
    key = APIKey.objects.get()
    assert key.allowed_networks == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
    assert key.scopes == ["generate"]
    assert (key.requests_per_minute, key.burst, key.tokens_per_day, key.max_concurrent) == (60, None, 0, None)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("10.0.0.0/8\nour office", "“our” is not an address or a network such as 10.0.0.0/8"),
        ("10.0.0.300", "“10.0.0.300” is not an address or a network"),
        ("10.1.2.3/8", "“10.1.2.3/8” is an address within a network: did you mean 10.0.0.0/8?"),
    ],
)
def test_an_invalid_network_is_named(admin_client: Client, typed: str, message: str) -> None:
    assert message in text(create(admin_client, allowed_networks=typed))
    assert not APIKey.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scopes", [], "Choose at least one"),
        ("scopes", ["everything"], "is not one of the available choices"),
        ("tokens_per_day", "-1", "greater than or equal to 0"),
        ("requests_per_minute", "10000000", "less than or equal to 1000000"),
    ],
)
def test_invalid_limits_and_scopes_are_refused(
    admin_client: Client, field: str, value: object, message: str
) -> None:
    assert message in text(create(admin_client, **{field: value}))
    assert not APIKey.objects.exists()


def test_the_form_shows_the_default_of_each_limit(admin_client: Client, settings: Settings) -> None:
    settings.LLM_KEY_REQUESTS_PER_MINUTE, settings.LLM_KEY_TOKENS_PER_DAY = 90, 0
    page = text(admin_client.get(f"{LIST}add/"))
    assert 'placeholder="default: 90"' in page
    assert 'placeholder="default: unlimited"' in page


def test_the_curl_example_uses_the_host_of_the_request(admin_client: Client) -> None:
    form = {"name": "search", "scopes": ["generate"], "prompts": "default", "expiry": "never"}
    response = admin_client.post(f"{LIST}add/", form, headers={"host": "localhost:8123"})
    assert "curl http://localhost:8123/generate" in text(response)


def test_submitting_the_form_again_neither_shows_nor_creates_a_secret(admin_client: Client) -> None:
    create(admin_client)
    again = create(admin_client)
    assert "already has" in text(again)
    assert not re.search(r"llms_\w{38}", text(again))
    assert APIKey.objects.count() == APIKeySecret.objects.count() == 1


def test_no_page_shows_a_secret_again(admin_client: Client) -> None:
    plaintext = shown_secret(create(admin_client))
    key = APIKey.objects.get()
    pages = ("change", "history", "rotate", "end_grace", "disable", "enable", "revoke")
    for page in (LIST, *(url(name, key) for name in pages)):
        response = admin_client.get(page, follow=True)
        assert response.status_code == 200
        assert plaintext not in text(response)


def test_an_expiry_in_the_past_is_refused(admin_client: Client) -> None:
    response = create(admin_client, expiry="custom", expires_at_0="2020-01-01", expires_at_1="00:00:00")
    assert "This is in the past" in text(response)
    assert not APIKey.objects.exists()


@pytest.mark.parametrize("days", [30, 90, 365])
def test_a_new_key_expires_after_the_chosen_days_on_the_day_shown(admin_client: Client, days: int) -> None:
    ends = timezone.now() + days * DAY
    page = text(admin_client.get(f"{LIST}add/"))
    shown = re.search(rf"In {days} days: (\d{{4}}-\d\d-\d\d \d\d:\d\d) UTC", page)
    assert shown is not None
    assert abs(datetime.fromisoformat(f"{shown[1]}+00:00") - ends) < 2 * MINUTE
    created = create(admin_client, expiry=str(days), expires_at_0="nonsense", expires_at_1="")
    key = APIKey.objects.get()
    assert key.expires_at is not None
    assert abs(key.expires_at - ends) < MINUTE
    assert f"on {key.expires_at:%Y-%m-%d %H:%M} UTC" in text(created)


def test_a_new_key_expires_never_or_at_any_other_time(admin_client: Client) -> None:
    create(admin_client, expiry="never", expires_at_0="2099-01-01", expires_at_1="12:00:00")
    create(admin_client, name="other", expiry="custom", expires_at_0="2099-01-01", expires_at_1="12:00:00")
    assert APIKey.objects.get(name="search").expires_at is None
    assert APIKey.objects.get(name="other").expires_at == datetime(2099, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"expiry": ""}, "Choose when the key expires"),
        ({"expiry": "31"}, "Choose when the key expires"),
        ({"expiry": "custom"}, "Enter the day and the time"),
        ({"expiry": "custom", "expires_at_0": "soon", "expires_at_1": "noon"}, "Enter a valid date"),
    ],
)
def test_an_expiry_that_is_not_one_is_refused(
    admin_client: Client, fields: dict[str, str], message: str
) -> None:
    assert message in text(create(admin_client, **fields))
    assert not APIKey.objects.exists()


# The page of a key


def test_a_key_cannot_take_the_name_of_another_in_use(admin_client: Client, key: APIKey) -> None:
    other = services.create_key(name="other").key
    assert "already has" in text(change(admin_client, other, name="search"))
    services.revoke(key=key)
    change(admin_client, other, name="search")
    other.refresh_from_db()
    assert other.name == "search"


def test_the_fields_of_a_key_can_be_edited(admin_client: Client, key: APIKey) -> None:
    change(
        admin_client,
        key,
        name="renamed",
        owner="Bob",
        note="New",
        allowed_networks="10.0.0.0/8",
        scopes=["usage"],
        max_concurrent="4",
    )
    key.refresh_from_db()
    assert (key.name, key.owner, key.note) == ("renamed", "Bob", "New")
    assert (key.allowed_networks, key.scopes, key.max_concurrent) == (["10.0.0.0/8"], ["usage"], 4)
    kinds = set(KeyEvent.objects.filter(actor="admin").values_list("kind", flat=True))
    assert kinds == {EventKind.CHANGED, EventKind.LIMITS_CHANGED}


def test_saving_an_unchanged_key_records_no_event(admin_client: Client) -> None:
    key = services.create_key(name="search", allowed_networks=["10.0.0.0/8", "192.0.2.7"]).key
    events = KeyEvent.objects.count()
    change(admin_client, key, allowed_networks="10.0.0.0/8\r\n192.0.2.7/32")
    assert KeyEvent.objects.count() == events


def test_the_page_says_by_whom_and_why_a_key_was_disabled_or_revoked(
    admin_client: Client, key: APIKey
) -> None:
    services.disable(key=key, reason="Over budget", by=ADA)
    page = text(admin_client.get(url("change", key)))
    assert "by ada: “Over budget”" in page
    services.revoke(key=key, reason="Leaked", by=ADA)
    page = text(admin_client.get(url("change", key)))
    assert "Revoked permanently" in page
    assert "revoked with the key" in page
    assert "by ada: “Leaked”" in page


def test_the_page_shows_the_events_of_the_key(admin_client: Client, key: APIKey) -> None:
    services.rotate(key=key, grace=HOUR, reason="Quarterly", by=ADA)
    page = text(admin_client.get(url("change", key)))
    for shown in ("Rotated", "grace period of 1 hour; “Quarterly”", "192.0.2.1"):
        assert shown in page


def test_a_change_is_shown_with_the_old_and_the_new_values(admin_client: Client, key: APIKey) -> None:
    change(admin_client, key, tokens_per_day="5000", burst="0", owner="Ada")
    change(admin_client, key, tokens_per_day="0", name="find", owner="Ada")
    page = text(admin_client.get(url("change", key)))
    for shown in (
        "burst: default → as many as per minute; tokens per day: default → 5,000",
        "burst: as many as per minute → default; tokens per day: 5,000 → unlimited",
        "name: search → find",
    ):
        assert shown in page


def test_a_revoked_key_shows_its_networks_and_scopes_as_text(admin_client: Client) -> None:
    key = services.create_key(name="search", allowed_networks=["10.0.0.0/8"], scopes=["usage"]).key
    services.revoke(key=key)
    page = text(admin_client.get(url("change", key)))
    assert "10.0.0.0/8" in page
    assert "See its own limits and usage" in page
    assert key.state is KeyState.REVOKED


def test_a_read_only_key_shows_its_expiry_with_the_zone_and_the_limits_that_apply(
    admin_client: Client, settings: Settings
) -> None:
    settings.LLM_KEY_REQUESTS_PER_MINUTE, settings.LLM_KEY_MAX_CONCURRENT = 90, 0
    ends = datetime(2099, 1, 31, 12, tzinfo=UTC)
    limits = {"burst": 0, "tokens_per_day": 2_500_000}
    key = services.create_key(name="search", limits=limits, expires_at=ends).key
    services.revoke(key=key)
    shown = re.findall(r'<div class="readonly">([^<]*)</div>', text(admin_client.get(url("change", key))))
    assert "2099-01-31 12:00:00 UTC" in shown
    assert shown[-5:] == [
        "90 (the service&#x27;s default)",
        "as many as per minute",
        "2,500,000",
        "unlimited (the service&#x27;s default)",
        "unlimited (the service&#x27;s default)",
    ]


def test_events_and_usage_are_shown_only_with_their_permissions(client: Client, key: APIKey) -> None:
    viewer = User.objects.create_user("viewer", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(viewer)
    page = text(client.get(url("change", key)))
    assert "Recent events" not in page
    assert "dailyusage" not in page


def test_nobody_can_delete_a_key(admin_client: Client, key: APIKey) -> None:
    assert admin_client.post(url("delete", key), {"post": "yes"}).status_code == 403
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": [key.pk], "post": "yes"})
    assert APIKey.objects.filter(pk=key.pk).exists()
