"""The life of a key in the admin of the real service, in Chromium, and its effect on a caller."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Error, Page, expect

from tests.e2e.browser import Browsing, browsing, create_key, log_in, needs_browser, shown_secret
from tests.e2e.conftest import Service, manage
from tests.waiting import wait_for

PASSWORD = "correct horse battery staple"
TOKENS = 8

pytestmark = needs_browser


@pytest.fixture(scope="module")
def service(chatting_service: Service) -> Service:
    return chatting_service


@pytest.fixture(scope="module")
def admin(service: Service) -> str:
    """The username of an administrator of the service."""
    environ = {**service.environ, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    manage(environ, "createsuperuser", "--noinput", "--username=grace", "--email=grace@example.org")
    return "grace"


@pytest.fixture
def window(service: Service) -> Iterator[Browsing]:
    with browsing(service.url) as window:
        yield window


@pytest.fixture
def page(window: Browsing, admin: str) -> Page:
    page = window.new_page()
    log_in(page, admin, PASSWORD)
    return page


@dataclass
class Caller:
    """A client with the key's secrets; `tokens` sums the usage that the answers report."""

    service: Service
    tokens: int = 0

    def refusal(self, secret: str) -> str | None:
        """Send a request with the secret; returns the detail of a 403, or None if it succeeded."""
        body = {"prompt": "Once upon a time", "max_new_tokens": TOKENS}
        url, headers = f"{self.service.url}/generate", {"X-API-Key": secret}
        response = httpx.post(url, json=body, headers=headers, timeout=120)
        answer: dict[str, Any] = response.json()
        if response.status_code == 403:
            return str(answer["detail"])
        assert response.status_code == 200
        self.tokens += answer["usage"]["total_tokens"]
        return None


def used_five_minutes_ago(service: Service, key: str) -> None:
    """Move the last use of the key back, because a use is recorded only once a minute."""
    code = (
        "from datetime import timedelta; from django.db.models import F\n"
        f"used = APIKeySecret.objects.filter(key__name={key!r})\n"
        "used.update(last_used_at=F('last_used_at') - timedelta(minutes=5))"
    )
    service.manage("shell", "--verbosity=0", "-c", code)


def do(page: Page, action: str, reason: str = "") -> None:
    page.get_by_role("link", name=f"{action}…").click()
    page.get_by_label("Reason").fill(reason)
    page.get_by_role("button", name=action).click()


def reloaded(page: Page) -> Page:
    """The page anew: an account is written a moment after its request was answered."""
    page.reload()
    return page


def test_the_life_of_a_key(window: Browsing, page: Page, service: Service) -> None:
    caller = Caller(service)
    state, events = page.locator(".key-state"), page.locator(".key-events tbody tr")

    # Created: shown once, and it works.
    first = create_key(page, "life")
    assert caller.refusal(first) is None
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == first
    page.get_by_role("link", name="go to the key").click()
    expect(state).to_have_text("Active")
    expect(page.locator(".key-facts")).to_contain_text("Last used just now")
    assert first not in page.content()

    # Limited, with a form that names an invalid network.
    page.get_by_label("Allowed networks").fill("127.0.0.1\n10.0.0.1/8")
    page.get_by_label("Tokens per day").fill("1000")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("did you mean 10.0.0.0/8?")).to_be_visible()
    page.get_by_label("Allowed networks").fill("127.0.0.1\n10.0.0.0/8")
    page.get_by_role("button", name="Save").click()
    page.locator("#result_list").get_by_role("link", name="life", exact=True).click()

    # Rotated: both secrets work, and the page shows that the old one is still in use.
    used_five_minutes_ago(service, "life")
    page.get_by_role("link", name="Rotate secret…").click()
    page.get_by_label("Other").check()
    page.get_by_label("Grace period in hours").fill("36")
    page.get_by_label("Reason").fill("Quarterly")
    page.get_by_role("button", name="Rotate secret").click()
    second = shown_secret(page)
    assert second != first
    page.get_by_role("link", name="go to the key").click()
    expect(page.locator(".key-note")).to_contain_text("has not been used since the rotation")
    for secret in (first, second):
        assert caller.refusal(secret) is None
    page.reload()
    expect(page.locator(".key-note")).to_contain_text("is still in use: last used just now from 127.0.0.1")
    expect(page.locator(".key-facts")).to_contain_text("In grace period")

    # The grace period ended early.
    do(page, "End grace period")
    expect(page.get_by_text("Ended the grace period of the API key")).to_be_visible()
    assert "a newer secret of this API key has replaced it" in str(caller.refusal(first))
    assert caller.refusal(second) is None

    # Disabled and enabled.
    do(page, "Disable", "Over budget")
    expect(state).to_have_text("Disabled")
    expect(page.locator(".key-note")).to_contain_text("by grace: “Over budget”")
    assert "disabled" in str(caller.refusal(second))
    do(page, "Enable")
    assert caller.refusal(second) is None

    # The usage, exact to the token, with the two requests that were refused.
    page.get_by_role("link", name="Usage", exact=True).last.click()
    wait_for(lambda: "7 requests" in reloaded(page).locator(".usage-figures").inner_text())
    expect(page.locator(".usage-bars")).to_contain_text(f"{caller.tokens} of 1,000 used")
    page.locator("summary").first.click()
    expect(page.locator(".usage-rows tbody tr").first.locator("td").last).to_have_text(str(caller.tokens))
    with page.expect_download() as download:
        page.get_by_role("link", name="Export CSV").click()
    [line] = csv.DictReader(Path(download.value.path()).read_text().splitlines())
    assert (line["endpoint"], line["total_tokens"]) == ("/generate", str(caller.tokens))
    page.get_by_role("link", name="Go to the key").click()

    # Revoked permanently.
    do(page, "Revoke", "The end")
    expect(state).to_have_text("Revoked")
    expect(page.locator(".key-actions")).to_have_count(0)
    assert "revoked" in str(caller.refusal(second))

    # Every step is an event.
    expect(events.first).to_contain_text("Revoked")
    page.get_by_role("link", name="All events of this key").click()
    assert sorted(page.locator("#result_list .key-event").all_inner_texts()) == [
        "Changed",
        "Created",
        "Disabled",
        "Enabled",
        "Grace period ended",
        "Limits changed",
        "New secret first used",
        "Refused after expiry",
        "Revoked",
        "Rotated",
        "Secret first used",
    ]
    assert window.complaints == []

    assert_not_stored(window, service, first, second)


def assert_not_stored(window: Browsing, service: Service, *secrets: str) -> None:
    """Assert that no secret is in the database (with sessions and history), the log or the cookies."""
    var_dir = Path(service.environ["VAR_DIR"])
    database = b"".join(path.read_bytes() for path in var_dir.glob("db.sqlite3*"))
    log, cookies = service.log.read_text(), repr(window.context.cookies())
    assert "/generate" in log
    for secret in secrets:
        assert (
            secret[:11].encode() in database
        )  # The prefix is stored, which shows that the right file was read.
        body = secret.removeprefix("llms_")
        assert body.encode() not in database
        assert body not in log
        assert body not in cookies


def test_of_two_concurrent_rotations_the_second_is_refused_with_a_message(
    window: Browsing, page: Page
) -> None:
    create_key(page, "raced")
    page.get_by_role("link", name="go to the key").click()
    page.get_by_role("link", name="Rotate secret…").click()
    other = window.new_page()
    other.goto(page.url)
    page.get_by_role("button", name="Rotate secret").click()
    won = shown_secret(page)
    other.get_by_role("button", name="Rotate secret").click()
    expect(other.get_by_text("has been rotated since you opened it")).to_be_visible()
    assert won not in other.content()


def test_a_reload_does_not_show_a_secret_again(page: Page) -> None:
    secret = create_key(page, "reloaded")
    page.reload()  # Submits the form again.
    expect(page.get_by_text("already has")).to_be_visible()
    assert secret not in page.content()


def test_going_back_does_not_show_a_secret_again(page: Page) -> None:
    create_key(page, "left")
    page.get_by_role("link", name="go to the key").click()
    with pytest.raises(Error, match="ERR_CACHE_MISS"):
        page.go_back()
