"""The page "Now" in Chromium: it refreshes itself, can be paused, and fits the window."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from inference import runtime
from inference.engine.engine import Engine
from tests.e2e.browser import browsing, log_in, needs_browser

pytestmark = [needs_browser, pytest.mark.django_db(transaction=True)]

WITHIN_MS = 15_000


def state(page: Page) -> str:
    return page.locator(".usage-figures dd").first.inner_text()


def test_the_page_follows_the_service_until_it_is_paused(
    live_server: LiveServer, admin_user: User, engine: Engine
) -> None:
    with browsing(live_server.url) as window:
        page = window.new_page()
        log_in(page, "admin", "password")
        page.get_by_role("link", name="Now").click()
        expect(page.get_by_role("heading", name="Now")).to_be_visible()
        assert state(page) == "Ready"
        for width in (360, 390, 768, 1440):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width, width

        runtime.drain()
        expect(page.locator(".usage-figures dd").first).to_have_text("Draining", timeout=WITHIN_MS)
        expect(page.get_by_text(re.compile("^As of "))).to_be_visible()

        page.get_by_role("button", name="Pause").click()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.wait_for_timeout(4000)
        assert asked == []
        page.get_by_role("button", name="Resume").click()
        page.wait_for_event("requestfinished", timeout=WITHIN_MS)
        assert window.complaints == []


def test_the_page_says_that_it_is_no_longer_refreshed(live_server: LiveServer, admin_user: User) -> None:
    with browsing(live_server.url) as window:
        page = window.new_page()
        log_in(page, "admin", "password")
        page.goto("/admin/now/")
        before = page.locator("#now-figures").inner_html()
        page.context.clear_cookies()

        expect(page.get_by_text("or you are logged out")).to_be_visible(timeout=WITHIN_MS)
        assert page.locator("#now-figures").inner_html() == before
