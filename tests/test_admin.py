import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts import secret_use, services, tokens
from accounts.models import APIKey, APIKeySecret, KeyState

LIST = "/admin/accounts/apikey/"
HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", owner="Ada").key


def url(page: str, key: APIKey) -> str:
    return reverse(f"admin:accounts_apikey_{page}", args=[key.pk])


def create(client: Client, **fields: str) -> Any:
    return client.post(f"{LIST}add/", {"name": "search", "expires_at_0": "", "expires_at_1": "", **fields})


def rotate(client: Client, key: APIKey, grace: str = "3600", rotations: int = 0) -> Any:
    return client.post(url("rotate", key), {"grace": grace, "rotations": str(rotations)}, follow=True)


def shown_secret(response: Any) -> str:
    secrets = set(re.findall(r"llms_\w{38}", response.content.decode()))
    assert len(secrets) == 1
    return str(secrets.pop())


def text(response: Any) -> str:
    return str(response.content.decode())


# A new key


def test_a_new_key_is_shown_once_in_the_answer_itself(admin_client: Client, admin_user: User) -> None:
    response = create(admin_client, owner="Ada", note="For the help centre")
    assert response.status_code == 200
    assert "no-store" in response["Cache-Control"]
    secret = services.find_secret(shown_secret(response))
    assert secret is not None
    assert (secret.key.name, secret.key.owner, secret.key.note) == ("search", "Ada", "For the help centre")
    assert secret.key.created_by == admin_user


def test_the_curl_line_calls_the_address_that_the_page_was_asked_at(admin_client: Client) -> None:
    response = admin_client.post(f"{LIST}add/", {"name": "search"}, headers={"host": "localhost:8123"})
    assert "curl http://localhost:8123/generate" in text(response)


def test_sending_the_form_again_neither_shows_nor_makes_anything(admin_client: Client) -> None:
    create(admin_client)
    again = create(admin_client)
    assert "in use already" in text(again)
    assert not re.search(r"llms_\w{38}", text(again))
    assert APIKey.objects.count() == APIKeySecret.objects.count() == 1


def test_no_page_shows_a_secret_again(admin_client: Client) -> None:
    plaintext = shown_secret(create(admin_client))
    key = APIKey.objects.get()
    for page in (LIST, *(url(name, key) for name in ("change", "history", "rotate", "disable", "revoke"))):
        response = admin_client.get(page)
        assert response.status_code == 200
        assert plaintext not in text(response)


def test_an_expiry_in_the_past_is_refused(admin_client: Client) -> None:
    response = create(admin_client, expires_at_0="2020-01-01", expires_at_1="00:00:00")
    assert "This is in the past" in text(response)
    assert not APIKey.objects.exists()


# The list and the key's page


def test_the_list_shows_state_prefix_owner_and_last_use(admin_client: Client) -> None:
    issued = services.create_key(name="search", owner="Ada")
    secret_use.record_use(secret=issued.secret, now=timezone.now() - timedelta(minutes=5))
    page = text(admin_client.get(LIST))
    for shown in ("search", "Ada", "Active", f"{issued.secret.prefix}…", "5\xa0minutes ago"):
        assert shown in page


@pytest.mark.parametrize("state", KeyState)
def test_the_list_is_filtered_by_state(admin_client: Client, state: KeyState) -> None:
    services.create_key(name="key-active")
    services.disable(key=services.create_key(name="key-disabled").key)
    services.revoke(key=services.create_key(name="key-revoked").key)
    services.create_key(name="key-expired", expires_at=timezone.now() - HOUR)
    page = text(admin_client.get(LIST, {"state": state.value}))
    assert set(re.findall(r">(key-\w+)</a>", page)) == {f"key-{state.value}"}


def test_a_key_is_found_by_the_start_of_its_secret(admin_client: Client) -> None:
    wanted = services.create_key(name="wanted")
    services.create_key(name="unwanted-one")
    page = text(admin_client.get(LIST, {"q": wanted.secret.prefix}))
    assert ">wanted</a>" in page
    assert ">unwanted-one</a>" not in page


def test_the_list_costs_the_same_queries_for_any_number_of_keys(admin_client: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(LIST)
        return len(captured)

    services.create_key(name="first")
    few = queries()
    for index in range(5):
        services.create_key(name=f"key {index}")
    assert queries() == few


def test_a_key_cannot_take_the_name_of_another_in_use(admin_client: Client, key: APIKey) -> None:
    other = services.create_key(name="other").key
    assert "in use already" in text(admin_client.post(url("change", other), {"name": "search"}))
    services.revoke(key=key)
    admin_client.post(url("change", other), {"name": "search"})
    other.refresh_from_db()
    assert other.name == "search"


def test_what_a_key_is_for_can_be_rewritten(admin_client: Client, key: APIKey) -> None:
    admin_client.post(url("change", key), {"name": "renamed", "owner": "Bob", "note": "New"})
    key.refresh_from_db()
    assert (key.name, key.owner, key.note) == ("renamed", "Bob", "New")


# Rotation


def test_rotation_shows_the_new_secret_once_and_keeps_the_old_one_for_the_grace(
    admin_client: Client,
) -> None:
    first = services.create_key(name="search")
    response = rotate(admin_client, first.key)
    assert response.status_code == 200
    assert response.redirect_chain == []
    assert "no-store" in response["Cache-Control"]
    second = services.find_secret(shown_secret(response))
    assert second is not None
    assert second.key == first.key
    old = APIKeySecret.objects.get(pk=first.secret.pk)
    assert old.expires_at is not None
    assert old.is_live
    assert abs(old.expires_at - timezone.now() - HOUR) < timedelta(minutes=1)
    page = text(admin_client.get(url("change", first.key)))
    assert str(old) in page
    assert str(second) in page
    assert "(grace)" in page


@pytest.mark.parametrize(("grace", "live"), [("0", 1), ("3600", 2), ("86400", 2), ("604800", 2)])
def test_each_grace_on_offer_works(admin_client: Client, key: APIKey, grace: str, live: int) -> None:
    rotate(admin_client, key, grace)
    assert APIKeySecret.objects.filter(key=key).live().count() == live


@pytest.mark.parametrize("grace", ["", "-1", "31536000", "soon"])
def test_any_other_grace_is_refused(admin_client: Client, key: APIKey, grace: str) -> None:
    assert "Choose when" in text(rotate(admin_client, key, grace))
    assert APIKeySecret.objects.count() == 1


def test_sending_the_rotation_again_is_refused_in_words(admin_client: Client, key: APIKey) -> None:
    rotate(admin_client, key)
    again = rotate(admin_client, key, grace="0")
    assert "has been rotated since you opened it" in text(again)
    assert not re.search(r"llms_\w{38}", text(again))
    assert APIKeySecret.objects.filter(key=key).live().count() == 2


def test_a_look_at_the_rotation_form_changes_nothing(admin_client: Client, key: APIKey) -> None:
    page = text(admin_client.get(url("rotate", key)))
    assert 'name="rotations" value="0"' in page
    assert APIKeySecret.objects.count() == 1


# Disable, enable, revoke


def test_a_key_is_disabled_enabled_and_revoked_by_post_only(admin_client: Client, key: APIKey) -> None:
    states = []
    for action in ("disable", "enable", "revoke"):
        assert admin_client.get(url(action, key)).status_code == 200
        before = APIKey.objects.get().state
        response = admin_client.post(url(action, key), follow=True)
        assert "the API key “search”" in text(response)
        states.append((before, APIKey.objects.get().state))
    active, disabled, revoked = KeyState.ACTIVE, KeyState.DISABLED, KeyState.REVOKED
    assert states == [(active, disabled), (disabled, active), (active, revoked)]


def test_a_revoked_key_can_be_looked_at_but_not_changed(admin_client: Client, key: APIKey) -> None:
    services.revoke(key=key)
    page = text(admin_client.get(url("change", key)))
    assert "Revoked" in page
    assert url("enable", key) not in page
    assert admin_client.post(url("change", key), {"name": "other"}).status_code == 403
    for action in ("disable", "enable", "revoke"):
        assert "stays revoked" in text(admin_client.post(url(action, key), follow=True))
    assert "stays revoked" in text(rotate(admin_client, key))
    assert APIKey.objects.get().state is KeyState.REVOKED


def test_nobody_can_delete_a_key(admin_client: Client, key: APIKey) -> None:
    assert admin_client.post(url("delete", key), {"post": "yes"}).status_code == 403
    admin_client.post(LIST, {"action": "delete_selected", "_selected_action": [key.pk], "post": "yes"})
    assert APIKey.objects.filter(pk=key.pk).exists()


def test_what_was_done_stands_in_the_history(admin_client: Client, key: APIKey) -> None:
    rotate(admin_client, key)
    admin_client.post(url("disable", key))
    page = text(admin_client.get(url("history", key)))
    assert "Rotated; the old secret stops: 1 hour." in page
    assert "Disabled." in page


# Who may


ACTIONS = ("rotate", "disable", "enable", "revoke")


def test_staff_who_may_only_look_cannot_act_also_not_by_a_forged_post(client: Client, key: APIKey) -> None:
    viewer = User.objects.create_user("viewer", password="correct horse", is_staff=True)
    viewer.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(viewer)
    page = text(client.get(url("change", key)))
    for action in ACTIONS:
        assert url(action, key) not in page
        assert client.get(url(action, key)).status_code == 403
        assert client.post(url(action, key), {"grace": "0", "rotations": "0"}).status_code == 403
    assert create(client, name="other").status_code == 403
    assert APIKey.objects.get().state is KeyState.ACTIVE
    assert APIKeySecret.objects.count() == 1


def test_without_a_login_every_page_asks_for_one(client: Client, key: APIKey) -> None:
    for action in ACTIONS:
        response = client.post(url(action, key), {"grace": "0", "rotations": "0"})
        assert response["Location"].startswith("/admin/login/")
    assert APIKey.objects.get().state is KeyState.ACTIVE


def test_a_post_from_another_site_is_refused(admin_user: User, key: APIKey) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    for action in ACTIONS:
        assert client.post(url(action, key), {"grace": "0", "rotations": "0"}).status_code == 403
    assert APIKey.objects.get().state is KeyState.ACTIVE


# What is kept


def everything_kept(client: Client) -> Iterator[str]:
    """Each column of each table, what the sessions hold, and the browser's cookies."""
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608
            for row in cursor.fetchall():
                yield f"{table} {row!r}"
    for session in Session.objects.all():
        yield repr(session.get_decoded())
    yield repr(client.cookies)


def test_no_secret_is_kept_anywhere_after_create_and_rotate(
    admin_client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    created = shown_secret(create(admin_client))
    key = APIKey.objects.get()
    rotated = shown_secret(rotate(admin_client, key))
    rotate(admin_client, key)  # Refused: leaves a message.
    kept = list(everything_kept(admin_client))
    assert any(tokens.digest(created) in entry for entry in kept)
    assert any(tokens.digest(rotated) in entry for entry in kept)
    assert LogEntry.objects.count() == 2
    for plaintext in (created, rotated):
        body = plaintext.removeprefix(tokens.PREFIX)
        assert not [entry for entry in kept if body in entry]
        assert body not in caplog.text
