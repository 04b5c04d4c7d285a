"""The playground in Chromium, against the real service with the quick-start model."""

import json
import re
import time
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from inference.engine.engine import Engine
from tests.e2e.browser import Browsing, browsing, needs_browser
from tests.e2e.conftest import Service
from tests.e2e.playground import answer_with, answers, ask, body_of, open_playground

pytestmark = needs_browser


@pytest.fixture
def window(service: Service) -> Iterator[Browsing]:
    with browsing(service.url) as window:
        yield window
        assert window.complaints == []


@pytest.fixture
def page(window: Browsing, service: Service) -> Page:
    return open_playground(window, key=service.key)


def test_a_conversation(page: Page, service: Service) -> None:
    expect(page.locator("#service-state")).to_have_text("Ready")
    expect(page.get_by_text("Accepted. The model's context has 8,192 tokens.")).to_be_visible()
    ask(page, "What is the capital of France?")
    [first] = answers(page)
    assert "Paris" in first
    words = (
        r"\d+ tokens · [\d.]+ tokens/s · first token after [\d.]+ s · prompt \d+ tokens · (complete|cut off)"
    )
    expect(page.locator(".figures")).to_have_text(re.compile(words))
    expect(page.locator("#announcements")).to_contain_text(first)

    page.get_by_label("System message").fill("Be brief.")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "<img src=x onerror=alert(1)>")
    assert answers(page, 2)[0] == first
    messages = body_of(sent.value)["messages"]
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2]["content"] == first
    assert page.locator("main img").count() == 0
    expect(page.locator(".question").last).to_contain_text("<img src=x")

    with page.expect_request("**/v1/chat/completions") as again:
        page.get_by_role("button", name="Regenerate").click()
    assert again.value.post_data == sent.value.post_data
    answers(page, 2)

    stored = "JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])"
    assert json.loads(page.evaluate(stored)) == [{}, {}, "", f"{service.url}/"]
    page.goto("/docs")
    page.go_back()
    expect(page.get_by_label("API key")).to_have_value("")


def test_completion_and_stop(page: Page, service: Service) -> None:
    key = service.create_key("stops")
    page.get_by_label("API key").fill(key)
    page.get_by_text("Completion", exact=True).click()
    page.get_by_label("Max tokens").fill("1000")
    page.get_by_text("More settings").click()
    page.get_by_label("Stop strings").fill("\\n\\nNever\n12345678")
    with page.expect_request("**/v1/completions") as sent:
        ask(page, "One, two, three,")
    assert body_of(sent.value)["stop"] == ["\n\nNever", "12345678"]
    expect(page.locator(".continued")).to_contain_text("four")
    page.get_by_role("button", name="Stop").click()
    words = r"\d+ tokens? · (?:[\d.]+ tokens/s · )?first token after [\d.]+ s · prompt \d+ tokens · stopped"
    expect(page.locator(".figures")).to_have_text(re.compile(words))
    expect(page.locator("#announcements")).to_have_text("Stopped.")
    expect(page.get_by_label("Prompt")).to_have_value("One, two, three,")
    assert answers(page)[0].startswith("One, two, three, four")
    until = time.monotonic() + 30
    while time.monotonic() < until:
        today = httpx.get(f"{service.url}/keys/me", headers={"X-API-Key": key}).json()["today"]
        if sum(today["requests"].values()) == 1:
            break
        time.sleep(0.1)
    assert today["requests"]["cancelled"] == 1
    assert 0 < today["completion_tokens"] < 1000


def test_a_key_that_may_only_generate_is_accepted(page: Page, service: Service) -> None:
    page.get_by_label("API key").fill(service.create_key("narrow", "--scope", "generate"))
    page.get_by_label("Max tokens").fill("4")
    expect(page.locator("#key-note")).to_have_text("Accepted.")
    ask(page, "Hello")
    answers(page)


def test_refusals_are_the_service_s_own_words(page: Page, service: Service) -> None:
    failure = page.get_by_role("alert")
    page.get_by_label("API key").fill("wrong")
    ask(page, "Hello")
    expect(failure).to_contain_text("Invalid API key.")
    expect(failure).to_contain_text("Status 401")
    expect(page.locator("#prompt")).to_have_value("Hello")
    expect(page.locator(".turn")).to_have_count(0)

    page.get_by_label("API key").fill(service.key)
    page.get_by_label("Temperature").fill("3")
    page.locator("#prompt").press("Enter")
    expect(failure).to_contain_text("temperature: Must be at most 2.")
    expect(page.get_by_label("Temperature")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("Temperature").fill("0")
    expect(page.get_by_label("Temperature")).not_to_have_attribute("aria-invalid", "true")

    key = service.create_key("playground", "--requests-per-minute", "1", "--burst", "1")
    page.get_by_label("API key").fill(key)
    ask(page, "Hello")
    answers(page)
    expect(failure).to_be_hidden()
    ask(page, "Hello again")
    expect(failure).to_contain_text("try again in")
    expect(failure).to_contain_text(re.compile(r"You can try again at \d\d:\d\d:\d\d\."))


def test_an_answer_that_breaks_off_stays_with_the_reason(page: Page) -> None:
    chunk = {"choices": [{"delta": {"content": "Half of "}, "finish_reason": None}]}
    error = {"error": {"message": "The engine has stopped.", "code": "engine_stopped"}}
    for ending, reason in (
        (f"data: {json.dumps(error)}\n\n", "The engine has stopped."),
        ("", "The connection was closed before the answer was complete."),
    ):
        answer_with(page, f"data: {json.dumps(chunk)}\n\n: waiting\n\n{ending}")
        ask(page, "Hello")
        expect(page.get_by_role("alert")).to_contain_text(reason)
        assert answers(page) == ["Half of "]
        expect(page.locator(".figures")).to_contain_text("failed")
        page.get_by_role("button", name="Clear").click()
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page, "Hello")
    expect(page.get_by_role("alert")).to_contain_text("The service cannot be reached.")


def test_everything_with_the_keyboard_alone(window: Browsing, service: Service) -> None:
    page = window.new_page()
    page.goto("/")
    press = page.keyboard.press

    def tab_to(name: str) -> None:
        for _ in range(20):
            press("Tab")
            focused = page.evaluate(
                "(document.activeElement.labels?.[0] ?? document.activeElement).textContent"
            )
            if focused.strip() == name:
                assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
                return
        pytest.fail(f"Tab does not reach {name}")

    tab_to("API key")
    page.keyboard.type(service.key)
    tab_to("Chat")
    press("ArrowRight")
    expect(page.get_by_label("Completion", exact=True).first).to_be_checked()
    press("ArrowLeft")
    tab_to("Message")
    page.keyboard.type("Tell me")
    press("Shift+Enter")
    page.keyboard.type("a very long story.")
    press("Enter")
    expect(page.locator(".question .text")).to_have_text("Tell me\na very long story.")
    expect(page.locator(".answer .text")).not_to_be_empty()
    press("Escape")
    expect(page.locator(".figures")).to_contain_text("stopped")
    expect(page.get_by_label("Message", exact=True)).to_be_focused()


@pytest.mark.django_db(transaction=True)
def test_a_model_without_a_chat_template_completes(
    live_server: LiveServer, engine: Engine, settings: Settings, key: str
) -> None:
    settings.LLM_MODEL = engine.model_name
    with browsing(live_server.url) as window:
        page = window.new_page()
        page.goto("/")
        page.get_by_label("API key").fill(key)
        page.get_by_label("Max tokens").fill("4")
        ask(page, "Hello")
        expect(page.get_by_role("alert")).to_contain_text("This model has no chat template")
        page.get_by_text("Completion", exact=True).click()
        expect(page.get_by_role("alert")).to_be_hidden()
        ask(page, "Hello")
        answers(page)
        expect(page.locator(".figures")).to_contain_text("4 tokens")
        assert window.complaints == []


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_and_the_page_fits(service: Service, width: int) -> None:
    found: list[str] = []

    def look(page: Page) -> None:
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            # Without a copy of the style sheets, which axe would put into the page against its policy.
            run = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
            found.extend(f"{scheme} {rule['id']}: {rule['nodes']}" for rule in run.response["violations"])
        assert page.evaluate("document.documentElement.scrollWidth") <= width

    with browsing(service.url, width=width) as window:
        page = window.new_page()
        page.goto("/")
        expect(page.locator("#service-state")).to_have_text("Ready")
        look(page)
        answer = "Words\n\n```python\n" + "long = 1 " * 60 + "\n```\n" + "unbroken" * 60
        chunk = {"choices": [{"delta": {"content": answer}, "finish_reason": "stop"}]}
        events = f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        answer_with(page, events)
        page.get_by_label("API key").fill(service.key)
        ask(page, "unbroken" * 60)
        answers(page)
        page.unroute("**/v1/chat/completions")
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
        page.get_by_label("Temperature").fill("9")
        ask(page, "Hello")
        expect(page.get_by_role("alert")).to_be_visible()
        look(page)
        page.get_by_role("button", name="Get code").click()
        look(page)
        assert window.complaints == []
    assert found == [], "\n".join(found)
