"""Who may do what to a key in the admin."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from accounts import services
from accounts.models import APIKey, APIKeySecret, KeyEvent, KeyState
from tests.admin_pages import change, create, text, url

HOUR = timedelta(hours=1)

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search", owner="Ada").key


PERMISSIONS = {
    "rotate": "rotate_apikey",
    "end_grace": "rotate_apikey",
    "disable": "change_apikey",
    "enable": "change_apikey",
    "revoke": "revoke_apikey",
}
FORGED = {"grace": "0", "rotations": "0", "reason": "forged"}


def staff_with(*codenames: str) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_apikey", *codenames]))
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("held", ["view_apikey", *sorted(set(PERMISSIONS.values()))])
def test_each_action_needs_its_permission_for_the_button_and_for_a_forged_post(
    key: APIKey, held: str
) -> None:
    services.rotate(key=key, grace=HOUR)
    before = list(APIKey.objects.values()), list(APIKeySecret.objects.values())
    client = staff_with(held)
    page = text(client.get(url("change", key)))
    for action, permission in PERMISSIONS.items():
        may = permission == held
        assert (url(action, key) in page) is (may and action != "enable"), action
        if not may:
            assert client.get(url(action, key)).status_code == 403, action
            assert client.post(url(action, key), FORGED).status_code == 403, action
    assert (list(APIKey.objects.values()), list(APIKeySecret.objects.values())) == before
    assert not KeyEvent.objects.filter(actor="staff").exists()


@pytest.mark.parametrize("action", PERMISSIONS)
def test_the_permission_of_an_action_is_sufficient(key: APIKey, action: str) -> None:
    services.rotate(key=key, grace=HOUR)
    client = staff_with(PERMISSIONS[action])
    response = client.post(url(action, key), {**FORGED, "rotations": "1"}, follow=True)
    assert response.status_code == 200
    assert KeyEvent.objects.filter(actor="staff").count() == 1


def test_permissions_for_actions_do_not_allow_creating_or_editing_a_key(key: APIKey) -> None:
    client = staff_with("rotate_apikey", "revoke_apikey", "view_usage")
    assert create(client, name="other").status_code == 403
    assert change(client, key, name="other").status_code == 403
    assert APIKey.objects.get().name == "search"


def test_every_page_requires_a_login(client: Client, key: APIKey) -> None:
    for action in PERMISSIONS:
        response = client.post(url(action, key), FORGED)
        assert response["Location"].startswith("/admin/login/")
    assert APIKey.objects.get().state is KeyState.ACTIVE


@pytest.mark.parametrize(
    ("headers", "advice"),
    [
        ({}, "allow cookies for this site"),
        ({"Cookie": f"csrftoken={'a' * 32}"}, "reload the page and try again"),
        ({"Origin": "https://another.example"}, "CSRF_TRUSTED_ORIGINS"),
    ],
)
def test_a_form_that_is_out_of_date_says_what_to_do(
    client: Client, headers: dict[str, str], advice: str
) -> None:
    response = Client(enforce_csrf_checks=True).post("/admin/login/", FORGED, headers=headers)
    assert response.status_code == 403
    page = response.content.decode()
    assert advice in page
    assert "<style" not in page


def test_a_post_from_another_site_is_refused(admin_user: User, key: APIKey) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    for action in PERMISSIONS:
        assert client.post(url(action, key), FORGED).status_code == 403
    assert APIKey.objects.get().state is KeyState.ACTIVE
