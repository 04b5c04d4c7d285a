"""The admin's actions on several keys at once."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from accounts import services
from accounts.models import APIKey, EventKind, KeyEvent, KeyState
from tests.admin_pages import LIST, REASON, text

pytestmark = pytest.mark.django_db


@pytest.fixture
def keys() -> list[APIKey]:
    return [services.create_key(name=name).key for name in ("search", "reports", "help centre")]


def run(client: Client, action: str, keys: list[APIKey], **fields: str) -> str:
    form = {"action": f"{action}_selected", "_selected_action": [key.pk for key in keys], **fields}
    return text(client.post(LIST, form, follow=True))


def confirm(client: Client, action: str, keys: list[APIKey], reason: str = REASON) -> str:
    return run(client, action, keys, confirmed="yes", reason=reason)


def states() -> dict[str, KeyState]:
    return {key.name: key.state for key in APIKey.objects.all()}


@pytest.mark.parametrize(
    ("action", "done", "kind"),
    [("disable", "Disabled", EventKind.DISABLED), ("revoke", "Revoked", EventKind.REVOKED)],
)
def test_the_selected_keys_are_changed_after_a_confirmation(
    admin_client: Client, keys: list[APIKey], action: str, done: str, kind: EventKind
) -> None:
    page = run(admin_client, action, keys[:2])
    assert f"{done[:-1]} 2 API keys" in page
    assert "<strong>search</strong>" in page
    assert "help centre" not in page
    assert set(states().values()) == {KeyState.ACTIVE}

    assert f"{done} 2 API keys." in confirm(admin_client, action, keys[:2])
    assert states() == {"search": done.lower(), "reports": done.lower(), "help centre": KeyState.ACTIVE}
    events = KeyEvent.objects.filter(actor="admin")
    assert {(event.kind, event.details["reason"]) for event in events} == {(kind, REASON)}


def test_several_keys_are_not_revoked_without_a_reason(admin_client: Client, keys: list[APIKey]) -> None:
    assert "Enter a reason" in confirm(admin_client, "revoke", keys, reason=" ")
    assert set(states().values()) == {KeyState.ACTIVE}


def test_keys_that_are_already_changed_are_left_as_they_are(admin_client: Client, keys: list[APIKey]) -> None:
    services.revoke(key=keys[0], reason="Leaked")
    assert "1 of the selected keys is left as it is" in run(admin_client, "revoke", keys)
    assert "Revoked 2 API keys." in confirm(admin_client, "revoke", keys)
    assert APIKey.objects.get(name="search").revoked_reason == "Leaked"
    assert "The selected API keys are already revoked." in run(admin_client, "revoke", keys)
    assert "already disabled or revoked" in run(admin_client, "disable", keys)


def test_each_bulk_action_needs_its_permission(keys: list[APIKey]) -> None:
    needed = {"disable": "change_apikey", "revoke": "revoke_apikey"}
    for held in ("view_apikey", *needed.values()):
        staff = User.objects.create_user(held, is_staff=True)
        staff.user_permissions.set(Permission.objects.filter(codename__in=["view_apikey", held]))
        client = Client()
        client.force_login(staff)
        page = text(client.get(LIST))
        for action, permission in needed.items():
            assert (f"{action}_selected" in page) is (permission == held), (held, action)
            if permission != held:
                confirm(client, action, keys)
    assert set(states().values()) == {KeyState.ACTIVE}
