"""axe-core finds nothing on any page, in either theme, in a wide and in a narrow window."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.contrib.auth.models import Permission, User
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts import secret_use, services
from accounts.events import Actor
from accounts.models import APIKey, DailyUsage, Reservation
from llmservice.http.request_record import RequestRecord
from llmservice.now import failures
from tests.e2e.browser import browsing, log_in, needs_browser

WIDTHS = (390, 1280)
THEMES: tuple[Literal["dark", "light"], ...] = ("dark", "light")
# All others find the same in each theme.
RULES_OF_COLOUR = ("color-contrast", "link-in-text-block")
pytestmark = [needs_browser, pytest.mark.django_db(transaction=True)]

OPERATIONS = 13
ADMIN = "/admin/"
KEYS = f"{ADMIN}accounts/apikey/"
EVENTS = f"{ADMIN}accounts/keyevent/"
USAGE = f"{ADMIN}accounts/dailyusage/"
NOW_PAGE = f"{ADMIN}now/"
NOW = datetime.now(UTC)
ADA = Actor(name="ada", address="2001:db8:85a3:8d3:1319:8a2e:370:7348")


@pytest.fixture
def key(admin_user: User) -> APIKey:
    """A key with everything that its pages can show, among keys in other states."""
    first = services.create_key(
        name="help centre",
        owner="Ada Lovelace, ada@example.org",
        expires_at=NOW + timedelta(days=10),
        limits={"requests_per_minute": 60, "tokens_per_day": 9_000_000},
        by=ADA,
    )
    key = first.key
    secret_use.record_use(secret=first.secret, now=NOW, address=ADA.address)
    key.requests_per_minute, key.tokens_per_day = 600, 9_000_000
    services.update_key(key=key, fields=["requests_per_minute", "tokens_per_day"], by=ADA)
    services.rotate(key=key, grace=timedelta(days=7), reason="As every quarter", by=ADA)
    names = (
        *("search", "reports", "a name of many words, as long as a name may be, that is not cut off"),
        *("disabled", "revoked", "expired"),
    )
    others = [services.create_key(name=name, limits={"tokens_per_day": 5_000_000}).key for name in names]
    services.disable(key=others[3], reason="Over budget", by=ADA)
    services.revoke(key=others[4], reason="Leaked", by=ADA)
    APIKey.objects.filter(pk=others[5].pk).update(expires_at=NOW - timedelta(days=1))
    DailyUsage.objects.bulk_create(
        DailyUsage(
            key=one,
            day=NOW.date() - timedelta(days=back),
            finished=1200 + 37 * (back % 11),
            failed=3,
            timed_out=9,
            refused=30 * (back % 5),
            prompt_tokens=1_234_567 * (1 + back % 3),
            completion_tokens=234_567 * (rank + 1),
        )
        for rank, one in enumerate([key, *others])
        for back in range(40)
    )
    for one in (key, *others):
        Reservation.objects.create(key=one, day=NOW.date(), tokens=9, deadline=NOW + timedelta(hours=1))
    failed = RequestRecord(id="0" * 32, method="POST", path="", route="/v1/completions", key_id=key.pk)
    failures.note(failed)
    return key


# The list is not wider than what is seen of it.
CUT_OFF = (
    """() => [...document.querySelectorAll(".results")].some(list => list.scrollWidth > list.clientWidth)"""
)


OPEN_DETAILS = "document.querySelectorAll('details').forEach(details => { details.open = true })"

# A script may follow the theme in the page's next frame, and a colour that is still fading is of neither.
SETTLED = """async () => {
  for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
  await Promise.allSettled(document.getAnimations().map(animation => animation.finished));
}"""


def faults(page: Page, *, within: str = "html", colours: bool = True) -> Iterator[str]:
    """What is wrong with the page, in each width and theme: what axe finds, and what does not fit.

    Args:
        within: the selector of the part that axe looks at.
        colours: whether it looks at the colours, which takes the longest. They are the same in each width.
    """
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        with_colours = colours and width == max(WIDTHS)
        looks: list[dict[str, object]] = [
            {"rules": {name: {"enabled": with_colours} for name in RULES_OF_COLOUR}},
            {"runOnly": {"type": "rule", "values": RULES_OF_COLOUR}},
        ]
        found: list[str] = []
        for theme, look in zip(THEMES, looks if with_colours else looks[:1], strict=False):
            page.emulate_media(color_scheme=theme)
            page.evaluate(SETTLED)
            found += violations(page, within, **look)
        if page.evaluate("document.documentElement.scrollWidth") > width:
            found.append("The page is wider than its window.")
        if page.evaluate(CUT_OFF):
            found.append("The list is cut off.")
        yield from (f"{page.url} at {width}: {fault}" for fault in found)


def violations(page: Page, within: str, **options: object) -> Iterator[str]:
    """What axe finds: each rule with the elements that break it."""
    # Without a copy of the style sheets, which axe would put into the page against its policy.
    options |= {"resultTypes": ["violations"], "preload": False}
    for rule in Axe().run(page, context=within, options=options).response["violations"]:
        for node in rule["nodes"]:
            yield f"{rule['id']}: {' '.join(map(str, node['target']))}: {node['failureSummary']}"


@pytest.fixture
def staff() -> str:
    user = User.objects.create_user("staff", password="password", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    return "staff"


def test_axe_finds_nothing_on_any_page_of_the_admin(live_server: LiveServer, key: APIKey, staff: str) -> None:
    pages = (
        *(ADMIN, KEYS, f"{KEYS}?q=nothing", f"{KEYS}add/"),
        *(f"{KEYS}{key.pk}/{page}/" for page in ("change", "rotate", "end_grace", "disable", "revoke")),
        *(EVENTS, f"{EVENTS}?key__id__exact={key.pk}", USAGE, f"{USAGE}{key.pk}/", NOW_PAGE),
    )
    found: list[str] = []
    with browsing(live_server.url) as window:
        page = window.new_page()

        def look(address: str) -> None:
            page.goto(address)
            found.extend(faults(page))

        look(f"{ADMIN}login/")
        log_in(page, "admin", "password")
        for address in pages:
            look(address)
        page.goto("about:blank")  # The page "Now" goes on asking, and would get another token for the login.
        page.context.clear_cookies()
        log_in(page, staff, "password")
        for address in (f"{KEYS}{key.pk}/change/", f"{KEYS}add/"):
            look(address)
        assert window.complaints == []
    assert found == [], "\n".join(found)


def test_axe_finds_nothing_in_the_documentation_whatever_is_opened(live_server: LiveServer) -> None:
    with browsing(live_server.url) as window:
        page = window.new_page()
        page.goto("/docs")
        operations = page.locator(".opblock-summary-control")
        expect(operations).to_have_count(OPERATIONS)
        found = list(faults(page))
        page.get_by_role("button", name="Authorize").click()
        found += faults(page, within=".dialog-ux")
        page.get_by_role("button", name="Close").last.click()
        # Colours only with a few open: axe takes a minute for those of all, which have the same.
        for name in ("Generation-generate", "Service-health"):
            page.locator(f"#operations-{name} .opblock-summary-control").click()
        page.locator("#operations-Service-health .execute").click()
        expect(page.locator(".live-responses-table .response")).to_be_visible()
        page.evaluate(OPEN_DETAILS)
        found += faults(page)
        # The last first: one that is opened is none of them any more.
        for operation in page.locator(".opblock:not(.is-open) .opblock-summary-control").all()[::-1]:
            operation.click()
        expect(page.locator(".opblock.is-open")).to_have_count(OPERATIONS)
        page.evaluate(OPEN_DETAILS)
        found += faults(page, colours=False)
        assert window.complaints == []
    assert found == [], "\n".join(found)


def test_an_operation_of_the_documentation_is_at_most_five_screens_long(live_server: LiveServer) -> None:
    with browsing(live_server.url, width=390) as window:
        page = window.new_page()
        page.goto("/docs#/Generation/generate")
        refusal = page.locator("summary", has_text="A limit of the API key does not allow this request now")
        expect(refusal).to_be_visible()
        assert page.evaluate("document.documentElement.scrollHeight") <= 5 * 900
        expect(page.get_by_text("Retry-After")).to_have_count(2)
        expect(page.get_by_text("Retry-After").first).to_be_hidden()
        refusal.click()
        page.locator(".docs-refusal details[open]").get_by_text("Headers", exact=True).click()
        expect(page.get_by_text("Retry-After").first).to_be_visible()
