"""The usage pages in Chromium: they fit the window, labels do not overlap, and each theme has its colours."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from accounts import services
from accounts.models import APIKey, DailyUsage
from tests.e2e.browser import browsing, log_in, needs_browser

pytestmark = [needs_browser, pytest.mark.django_db(transaction=True)]

OVERLAPS = """() => {
  const box = text => ({what: text.textContent, ...text.getBoundingClientRect().toJSON()});
  const boxes = [...document.querySelectorAll(".usage-chart")]
    .map(chart => [...chart.querySelectorAll("text")].map(box).filter(box => box.width > 0));
  return boxes.flatMap(chart => chart.flatMap((a, i) => chart.slice(i + 1)
    .filter(b => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom - 2 && b.top + 2 < a.bottom - 2)
    .map(b => `${a.what} | ${b.what}`)));
}"""


@pytest.fixture
def keys(admin_user: User) -> list[APIKey]:
    """Keys with usage on each of 90 days, and with short and long names and numbers."""
    today = datetime.now(UTC).date()
    names = (
        "search",
        "a key with a name that is as long as a name may be, so that it fills a hundred characters!!",
        "x",
    )
    keys = [services.create_key(name=name, limits={"tokens_per_day": 9_000_000}).key for name in names]
    DailyUsage.objects.bulk_create(
        DailyUsage(
            key=key,
            day=today - timedelta(days=back),
            finished=1200 + 37 * (back % 11),
            refused=back % 5,
            prompt_tokens=1_234_567 * (1 + back % 3),
            completion_tokens=2_345_678 * (index + 1),
        )
        for index, key in enumerate(keys)
        for back in range(90)
    )
    return keys


@pytest.fixture
def addresses(keys: list[APIKey]) -> list[str]:
    overview = "/admin/accounts/dailyusage/"
    return [f"{page}?days={days}" for page in (overview, f"{overview}{keys[0].pk}/") for days in (7, 30, 90)]


CUT_OFF = """() => [...document.querySelectorAll(".usage-bars :is(td, th)")]
  .map(cell => [cell, cell.closest(".usage-rows")].map(box => box.getBoundingClientRect().right).concat(cell))
  .filter(([right, end, cell]) => cell.offsetWidth > 0 && right > end + 1)
  .map(([right, end, cell]) => cell)
  .map(cell => cell.textContent.trim())"""


def test_pages_fit_the_window_and_labels_do_not_overlap(
    live_server: LiveServer, addresses: list[str]
) -> None:
    with browsing(live_server.url) as window:
        page = window.new_page()
        log_in(page, "admin", "password")
        for address in addresses:
            page.goto(address)
            for width in (360, 390, 768, 1440):
                page.set_viewport_size({"width": width, "height": 900})
                where = f"{address} at {width}"
                assert page.evaluate("document.documentElement.scrollWidth") <= width, where
                assert page.evaluate(OVERLAPS) == [], where
                assert page.evaluate(CUT_OFF) == [], where
                assert page.locator(".usage-day:visible").count() >= 2 * 4, where
        assert window.complaints == []


def test_each_theme_has_its_colours_and_the_table_opens_by_keyboard(
    live_server: LiveServer, addresses: list[str]
) -> None:
    with browsing(live_server.url) as window:
        page = window.new_page()
        log_in(page, "admin", "password")
        page.goto(addresses[0])
        fills = set()
        for theme in ("light", "dark"):
            page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
            series = page.locator(".usage-plot rect.series-1").first
            fills.add(series.evaluate("rect => getComputedStyle(rect).fill"))
        expect(page.get_by_role("img", name="Tokens per day by key")).to_be_visible()
        page.locator("summary").first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("row", name="search").first).to_be_visible()
    assert len(fills) == 2
