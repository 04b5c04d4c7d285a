"""A reader of /docs in Chromium authorizes, generates, and sends no byte to another host."""

import json
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, expect, sync_playwright

from tests.e2e.conftest import Service

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome is installed")


@pytest.fixture
def context(service: Service) -> Iterator[BrowserContext]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(base_url=service.url)
        browser.close()


def authorize(page: Page, key: str) -> None:
    page.get_by_role("button", name="Authorize").click()
    dialog = page.locator(".modal-ux")
    # Every operation takes the key in X-API-Key, the first of the two schemes.
    dialog.get_by_role("textbox").first.fill(key)
    dialog.get_by_role("button", name="Apply credentials").first.click()
    dialog.get_by_role("button", name="Close").last.click()


def execute(page: Page) -> tuple[int, dict[str, object]]:
    """Press Execute; returns the status and the body as the page shows them."""
    with page.expect_response("**/generate"):
        page.get_by_role("button", name="Execute").click()
    answer = page.locator(".live-responses-table .response")
    expect(answer).to_be_visible()
    status = answer.locator(".response-col_status").inner_text().split()[0]
    return int(status), json.loads(answer.locator(".highlight-code code").first.inner_text())


def test_authorize_try_it_out_generate(context: BrowserContext, service: Service) -> None:
    page = context.new_page()
    requested: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("pageerror", lambda error: complaints.append(str(error)))

    page.goto("/docs")
    page.get_by_role("button", name="Generate text after a prompt").click()
    status, refusal = execute(page)
    assert status == 403
    assert "X-API-Key" in str(refusal["detail"])

    authorize(page, service.key)
    status, answer = execute(page)
    assert status == 200
    assert str(answer["generated_text"]).startswith("Once upon a time")

    assert [url for url in requested if not url.startswith((service.url, "data:"))] == []
    assert complaints == []


def test_the_key_is_forgotten_with_the_page(context: BrowserContext, service: Service) -> None:
    page = context.new_page()
    page.goto("/docs")
    authorize(page, service.key)
    assert service.key not in page.evaluate("JSON.stringify([localStorage, sessionStorage, document.cookie])")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(context: BrowserContext, width: int) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/docs")
    expect(page.get_by_text("/generate").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
