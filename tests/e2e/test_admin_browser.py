"""An administrator in Chromium takes a key through its life, and a caller feels each step."""

import shutil
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Error, Page, expect, sync_playwright
from pytest_django.live_server_helper import LiveServer

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")


@pytest.fixture
def page(live_server: LiveServer, admin_user: User) -> Iterator[Page]:
    """A browser's page, logged in. The database is not to be asked while it is open: Playwright runs an event
    loop in this thread, where Django refuses to wait for one.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(base_url=live_server.url)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.goto("/admin/")
        page.get_by_label("Username").fill("admin")
        page.get_by_label("Password").fill("password")
        page.get_by_role("button", name="Log in").click()
        yield page
        browser.close()


def refusal(server: LiveServer, secret: str) -> str | None:
    """Use the secret; returns what a 403 says, or None if the key was accepted.

    The body is empty: where a key is accepted, it is the body that is refused, with no model needed.
    """
    response = httpx.post(f"{server.url}/generate", json={}, headers={"X-API-Key": secret})
    assert response.status_code in (403, 422, 503)
    answer: dict[str, Any] = response.json()
    return str(answer["detail"]) if response.status_code == 403 else None


def shown_secret(page: Page) -> str:
    return page.locator("#key-secret").inner_text()


def confirm(page: Page, action: str) -> None:
    page.get_by_role("link", name=f"{action}…").click()
    page.get_by_role("button", name=action).click()


def test_the_life_of_a_key(page: Page, live_server: LiveServer) -> None:
    page.goto("/admin/accounts/apikey/")
    page.get_by_role("link", name="Add API key").click()
    page.get_by_label("Name").fill("search")
    page.get_by_label("Owner").fill("Ada")
    page.get_by_role("button", name="Create key").click()
    first = shown_secret(page)
    assert refusal(live_server, first) is None

    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == first

    page.get_by_role("link", name="go to the key").click()
    expect(page.locator(".key-state")).to_have_text("Active")
    expect(page.locator(".key-facts")).not_to_contain_text("Last used never")
    assert first not in page.content()

    page.get_by_role("link", name="Rotate secret…").click()
    page.get_by_label("1 hour").check()
    page.get_by_role("button", name="Rotate secret").click()
    second = shown_secret(page)
    assert second != first
    assert refusal(live_server, first) is None
    assert refusal(live_server, second) is None

    page.get_by_role("link", name="go to the key").click()
    expect(page.locator(".key-table tbody tr")).to_have_count(2)
    expect(page.locator(".key-table")).to_contain_text("(grace)")

    confirm(page, "Disable")
    expect(page.locator(".key-state")).to_have_text("Disabled")
    for secret in (first, second):
        assert "disabled" in str(refusal(live_server, secret))

    confirm(page, "Enable")
    assert refusal(live_server, second) is None

    confirm(page, "Revoke")
    expect(page.locator(".key-state")).to_have_text("Revoked")
    expect(page.locator(".key-actions")).to_have_count(0)
    assert "revoked" in str(refusal(live_server, second))


def create_key(page: Page) -> str:
    page.goto("/admin/accounts/apikey/add/")
    page.get_by_label("Name").fill("search")
    page.get_by_role("button", name="Create key").click()
    return shown_secret(page)


def test_a_reload_does_not_show_a_secret_again(page: Page) -> None:
    secret = create_key(page)
    page.reload()  # Sends the form again.
    expect(page.get_by_text("in use already")).to_be_visible()
    assert secret not in page.content()


def test_going_back_does_not_show_a_secret_again(page: Page) -> None:
    create_key(page)
    page.get_by_role("link", name="go to the key").click()
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        page.go_back()
