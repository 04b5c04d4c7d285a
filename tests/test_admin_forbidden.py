"""What an account of the admin sees where it lacks a permission."""

import pytest
from django.contrib.auth.models import Permission, User
from django.core.exceptions import PermissionDenied
from django.test import Client, RequestFactory

from accounts import services
from accounts.admin.forbidden import permission_denied
from accounts.models import APIKey
from tests.admin_pages import LIST, change, text, url

pytestmark = pytest.mark.django_db

USAGE = "/admin/accounts/dailyusage/"
EVENTS = "/admin/accounts/keyevent/"


@pytest.fixture
def key() -> APIKey:
    return services.create_key(name="search").key


@pytest.fixture
def staff(client: Client) -> Client:
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    client.force_login(user)
    return client


def test_the_page_is_one_of_the_admin_and_names_the_permission(staff: Client, key: APIKey) -> None:
    for address, permission, codename in (
        (f"{LIST}add/", "Can add API key", "accounts.add_apikey"),
        (url("rotate", key), "Can rotate API key", "accounts.rotate_apikey"),
        (url("end_grace", key), "Can rotate API key", "accounts.rotate_apikey"),
        (url("disable", key), "Can change API key", "accounts.change_apikey"),
        (url("revoke", key), "Can revoke API key", "accounts.revoke_apikey"),
        (EVENTS, "Can view event", "accounts.view_keyevent"),
        (USAGE, "Can view usage of API keys", "accounts.view_usage"),
        (f"{USAGE}usage.csv", "Can view usage of API keys", "accounts.view_usage"),
        ("/admin/auth/user/", "Can view user", "auth.view_user"),
    ):
        response = staff.get(address)
        assert response.status_code == 403
        page = text(response)
        assert f"lacks the permission “{permission}” (<code>{codename}</code>)" in page, address
        assert 'id="user-tools"' in page
    assert "Can change API key" in text(change(staff, key, name="other"))


def test_what_no_account_may_do_is_told_as_such(admin_client: Client, staff: Client, key: APIKey) -> None:
    services.revoke(key=key)
    for client, response in (
        (admin_client, change(admin_client, key, name="other")),
        (admin_client, admin_client.post(url("delete", key), {"post": "yes"})),
        (staff, staff.post(url("delete", key), {"post": "yes"})),
    ):
        assert response.status_code == 403
        assert "No account may do this" in text(response), client


def test_outside_of_the_admin_a_refusal_stays_a_problem_document(rf: RequestFactory) -> None:
    request = rf.get("/metrics")
    request.user = User(username="staff", is_staff=True)
    response = permission_denied(request, PermissionDenied())
    assert response.status_code == 403
    assert response.headers["Content-Type"] == "application/problem+json"
