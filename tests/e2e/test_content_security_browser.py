"""The pages work in Chromium under their Content-Security-Policy: it stops all but what is theirs."""

import httpx
import pytest
from playwright.sync_api import expect

from tests.e2e.browser import browsing, create_key, log_in, needs_browser
from tests.e2e.conftest import Service, manage

PASSWORD = "correct horse battery staple"

pytestmark = needs_browser


@pytest.fixture(scope="module")
def service(chatting_service: Service) -> Service:
    return chatting_service


def test_no_page_of_the_admin_breaks_its_policy(service: Service) -> None:
    environ = {**service.environ, "DJANGO_SUPERUSER_PASSWORD": PASSWORD}
    manage(environ, "createsuperuser", "--noinput", "--username=hedy", "--email=hedy@example.org")
    with browsing(service.url) as window:
        page = window.new_page()
        log_in(page, "hedy", PASSWORD)
        create_key(page, "under the policy")
        page.get_by_role("link", name="go to the key").click()
        key = page.url.removesuffix("change/")
        page.get_by_role("link", name="Today").click()  # The calendar's script puts the day in.
        assert page.locator("#id_expires_at_0").input_value() != ""
        page.get_by_role("button", name="Toggle theme").click()
        for address in (
            *("/admin/", "/admin/accounts/apikey/", "/admin/accounts/apikey/?state=in_grace"),
            *(f"{key}{name}/" for name in ("change", "rotate", "disable", "revoke")),
            *("/admin/accounts/keyevent/", "/admin/accounts/dailyusage/", "/admin/password_change/"),
            *("/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/add/"),
        ):
            response = page.goto(address)
            assert response is not None
            assert response.status == 200, address
        assert window.complaints == []


def test_swagger_ui_generates_under_its_policy(service: Service) -> None:
    with browsing(service.url) as window:
        page = window.new_page()
        page.goto("/docs")
        page.get_by_role("button", name="Authorize").click()
        dialog = page.locator(".modal-ux")
        dialog.get_by_role("textbox").first.fill(service.key)
        dialog.get_by_role("button", name="Apply credentials").first.click()
        dialog.get_by_role("button", name="Close").last.click()
        page.get_by_role("button", name="Generate text after a prompt").click()
        with page.expect_response("**/generate") as answer:
            page.get_by_role("button", name="Execute").click()
        assert answer.value.status == 200
        expect(page.locator(".live-responses-table .response")).to_contain_text("generated_text")
        assert window.complaints == []


@pytest.mark.parametrize("address", ["/docs", "/admin/login/"])
def test_a_script_that_slips_into_a_page_does_not_run(service: Service, address: str) -> None:
    with browsing(service.url) as window:
        page = window.new_page()
        page.goto(address)
        page.evaluate(
            "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')"
        )
        page.evaluate(
            "document.body.append(Object.assign(document.createElement('script'), {text: 'ran = 2'}))"
        )
        page.wait_for_function("() => document.querySelector('img[src=x]').complete")
        assert page.evaluate("window.ran") is None
        assert any("violates script-src" in complaint for complaint in window.complaints)


def test_the_lock_out_page_is_one_of_the_admin_s(service: Service) -> None:
    with browsing(service.url) as window:
        page = window.new_page()
        for _ in range(5):
            log_in(page, "nobody", "a guess")
        expect(page.get_by_text("Wait 15 minutes")).to_be_visible()
        assert window.complaints == []
    assert "a guess" not in service.log.read_text()
    assert httpx.get(f"{service.url}/admin/login/").status_code == 200
