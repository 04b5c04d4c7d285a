"""Chromium for the tests that look at pages, what the pages complain of, and what is often done there."""

import asyncio
import atexit
import shutil
from asyncio.events import _set_running_loop
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

# Nothing depends on speed: on a busy machine, Swagger takes more than Playwright's five seconds to draw.
expect.set_options(timeout=30_000)

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")

TELL_VIOLATIONS = """document.addEventListener("securitypolicyviolation", stopped =>
    console.error(`violates ${stopped.violatedDirective} on ${location}: ${stopped.blockedURI}`))"""


@dataclass(frozen=True, kw_only=True)
class Browsing:
    """A browser's window; `complaints` are its pages' errors and what a Content-Security-Policy stopped."""

    context: BrowserContext
    complaints: list[str] = field(default_factory=list)

    def new_page(self) -> Page:
        def read(message: ConsoleMessage) -> None:
            if message.text.startswith("violates "):
                self.complaints.append(message.text)

        page = self.context.new_page()
        page.add_init_script(TELL_VIOLATIONS)
        page.on("pageerror", lambda error: self.complaints.append(f"{page.url}: {error}"))
        page.on("console", read)
        return page


class _Chromium:
    """One browser for all tests of a process: a start takes longer than many a test."""

    def __init__(self) -> None:
        self._playwright = sync_playwright().start()
        self._loop = asyncio.get_running_loop()
        self._browser = self._playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )

    @contextmanager
    def in_use(self) -> Iterator[Browser]:
        """Playwright keeps its event loop running in this thread, in a greenlet of its own.

        Between the tests the loop stands still, and other tests may ask Django's database.
        """
        _set_running_loop(self._loop)
        try:
            yield self._browser
        finally:
            _set_running_loop(None)

    def close(self) -> None:
        with self.in_use():
            self._browser.close()
            self._playwright.stop()


@cache
def _chromium() -> _Chromium:
    chromium = _Chromium()
    atexit.register(chromium.close)
    return chromium


@contextmanager
def browsing(url: str, *, width: int = 1280, dark: bool = False) -> Iterator[Browsing]:
    """Open a window on the service at `url`, with cookies of its own. Django's database is not to be asked in
    this thread meanwhile: Playwright runs an event loop in it, where Django refuses to wait.
    """
    with _chromium().in_use() as browser:
        context = browser.new_context(
            base_url=url,
            viewport={"width": width, "height": 900},
            color_scheme="dark" if dark else "light",
        )
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        try:
            yield Browsing(context=context)
        finally:
            context.close()


def log_in(page: Page, username: str, password: str) -> None:
    page.goto("/admin/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()


def create_key(page: Page, name: str) -> str:
    """Make a key in the admin; returns its secret, from the page that shows it."""
    page.goto("/admin/accounts/apikey/add/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Owner").fill("Ada")
    page.get_by_role("button", name="Create key").click()
    return shown_secret(page)


def shown_secret(page: Page) -> str:
    return page.locator("#key-secret").inner_text()
