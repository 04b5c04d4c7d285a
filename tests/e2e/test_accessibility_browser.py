"""axe-core finds nothing on any page, in either theme, in a wide and in a narrow window."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.contrib.auth.models import Permission, User
from playwright.sync_api import Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts import secret_use, services
from accounts.events import Actor
from accounts.models import APIKey, DailyUsage
from tests.e2e.browser import browsing, log_in, needs_browser

window_and_theme = pytest.mark.parametrize(
    ("width", "dark"),
    [(1280, False), (1280, True), (390, False), (390, True)],
    ids=["wide-light", "wide-dark", "narrow-light", "narrow-dark"],
)
pytestmark = [needs_browser, pytest.mark.django_db(transaction=True)]

ADMIN = "/admin/"
KEYS = f"{ADMIN}accounts/apikey/"
EVENTS = f"{ADMIN}accounts/keyevent/"
USAGE = f"{ADMIN}accounts/dailyusage/"
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
    return key


# The list is not wider than what is seen of it.
CUT_OFF = (
    """() => [...document.querySelectorAll(".results")].some(list => list.scrollWidth > list.clientWidth)"""
)


def violations(page: Page) -> Sequence[str]:
    """What axe finds: each rule with the elements that break it."""
    # Without a copy of the style sheets, which axe would put into the page against its policy.
    found = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
    return [
        f"{page.url} {rule['id']}: {' '.join(map(str, node['target']))}: {node['failureSummary']}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


@pytest.fixture
def staff() -> str:
    user = User.objects.create_user("staff", password="password", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_apikey"))
    return "staff"


@window_and_theme
def test_axe_finds_nothing_on_any_page_of_the_admin(
    live_server: LiveServer, key: APIKey, staff: str, width: int, dark: bool
) -> None:
    pages = (
        *(ADMIN, KEYS, f"{KEYS}?q=nothing", f"{KEYS}add/"),
        *(f"{KEYS}{key.pk}/{page}/" for page in ("change", "rotate", "end_grace", "disable", "revoke")),
        *(EVENTS, f"{EVENTS}?key__id__exact={key.pk}", USAGE, f"{USAGE}{key.pk}/"),
    )
    found: list[str] = []
    with browsing(live_server.url, width=width, dark=dark) as window:
        page = window.new_page()

        def look(address: str) -> None:
            page.goto(address)
            page.wait_for_load_state("networkidle")
            found.extend(violations(page))
            assert page.evaluate("document.documentElement.scrollWidth") <= width, address
            assert not page.evaluate(CUT_OFF), address

        look(f"{ADMIN}login/")
        log_in(page, "admin", "password")
        for address in pages:
            look(address)
        page.context.clear_cookies()
        log_in(page, staff, "password")
        for address in (f"{KEYS}{key.pk}/change/", f"{KEYS}add/"):
            look(address)
        assert window.complaints == []
    assert found == [], "\n".join(found)


@window_and_theme
def test_axe_finds_nothing_in_the_documentation_whatever_is_opened(
    live_server: LiveServer, width: int, dark: bool
) -> None:
    with browsing(live_server.url, width=width, dark=dark) as window:
        page = window.new_page()
        page.goto("/docs")
        operations = page.locator(".opblock-summary-control")
        expect(operations).to_have_count(10)
        found = list(violations(page))
        for operation in operations.all():
            operation.click()
        expect(page.locator(".opblock.is-open")).to_have_count(10)
        page.locator("#operations-Service-health .execute").click()
        expect(page.locator(".live-responses-table .response")).to_be_visible()
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
        found += violations(page)
        page.get_by_role("button", name="Authorize").click()
        found += violations(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
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
