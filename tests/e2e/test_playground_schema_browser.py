"""Answers of the playground that fit a JSON Schema, in Chromium, against the real service."""

import json
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page, expect

from tests.e2e.browser import Browsing, browsing, needs_browser
from tests.e2e.conftest import Service
from tests.e2e.playground import answer_with, ask, body_of, open_playground

pytestmark = needs_browser


@pytest.fixture(scope="module")
def service(chatting_service: Service) -> Service:
    return chatting_service


SCHEMA = {
    "type": "object",
    "properties": {"capital": {"enum": ["Paris"]}, "rivers": {"const": [{"name": "Seine", "km": 777}]}},
    "required": ["capital", "rivers"],
    "additionalProperties": False,
}


@pytest.fixture
def window(service: Service) -> Iterator[Browsing]:
    with browsing(service.url) as window:
        yield window
        assert window.complaints == []


@pytest.fixture
def page(window: Browsing, service: Service) -> Page:
    page = open_playground(window, key=service.key)
    page.get_by_label("Max tokens").fill("200")
    page.get_by_label("JSON Schema").fill(json.dumps(SCHEMA))
    return page


def answered(text: str) -> str:
    chunk = {"choices": [{"delta": {"content": text}, "finish_reason": "stop"}]}
    return f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("mode", ["Chat", "Completion"])
def test_an_answer_that_fits_is_a_tree_and_its_raw_text(page: Page, mode: str) -> None:
    page.get_by_text(mode, exact=True).click()
    with page.expect_request("**/v1/**completions") as sent:
        ask(page, "What is the capital of France?")
    assert body_of(sent.value)["response_format"]["json_schema"]["schema"] == SCHEMA
    tree = page.locator(".tree")
    expect(tree).to_contain_text('capital: "Paris"', timeout=60_000)
    expect(tree).to_contain_text("rivers: 1 item")
    expect(tree.get_by_text("km: 777")).to_be_visible()
    raw = page.locator(".answer .text")
    expect(raw).to_be_hidden()

    folding = tree.locator("summary").nth(1)
    folding.press("Enter")
    expect(tree.get_by_text("km: 777")).to_be_hidden()
    page.get_by_role("button", name="Raw text").press("Enter")
    expect(tree).to_be_hidden()
    written = raw.locator(".continued") if mode == "Completion" else raw
    assert json.loads(written.inner_text())["capital"] == "Paris"
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert json.loads(page.evaluate("navigator.clipboard.readText()"))["capital"] == "Paris"
    page.get_by_role("button", name="Raw text").click()
    expect(tree).to_be_visible()


def test_a_schema_that_cannot_be_sent_or_enforced_says_so_at_its_field(page: Page) -> None:
    schema = page.get_by_label("JSON Schema")
    refused = page.locator("#schema-refused")
    for text, reason in (
        ('{"type": ', "Not valid JSON"),
        ('["object"]', "Must be a JSON Schema"),
        ('{"type": "string", "pattern": "(?=a)b"}', re.compile(r"\$\.pattern: .*look")),
    ):
        schema.fill(text)
        expect(refused).to_have_count(0)
        ask(page, "Hello")
        expect(refused).to_contain_text(reason)
        expect(schema).to_have_attribute("aria-describedby", "schema-note schema-refused")
        expect(schema).to_have_attribute("aria-invalid", "true")
        expect(page.locator(".turn")).to_have_count(0)
    schema.fill(" ")
    with page.expect_request("**/v1/chat/completions") as sent:
        ask(page, "Hello")
    assert "response_format" not in body_of(sent.value)


def test_what_the_model_wrote_stays_text_and_keeps_its_digits(page: Page) -> None:
    hostile = '<img src=x onerror="alert(1)">'
    deep = "[" * 400 + "]" * 400
    written = json.dumps({hostile: hostile, "none": None, "empty": [], "__proto__": 1})
    answer_with(page, answered(written[:-1] + f', "long": 12345678901234567890.10, "deep": {deep}}}'))
    ask(page, "Hello")
    tree = page.locator(".tree")
    expect(tree).to_contain_text(f"{hostile}: {json.dumps(hostile)}")
    for line in ("none: null", "empty: []", "__proto__: 1", "long: 12345678901234567890.10"):
        expect(tree.get_by_text(line, exact=True)).to_be_visible()
    assert page.locator("main img").count() == 0


def test_a_text_that_is_cut_off_stays_text(page: Page) -> None:
    page.get_by_label("Max tokens").fill("3")
    ask(page, "Hello")
    expect(page.locator(".figures")).to_contain_text("cut off", timeout=60_000)
    expect(page.locator(".answer .text")).to_contain_text("{")
    expect(page.locator(".tree")).to_have_count(0)
    expect(page.get_by_role("button", name="Raw text")).to_be_hidden()


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_in_a_tree_and_it_fits(service: Service, width: int) -> None:
    found: list[str] = []
    with browsing(service.url, width=width) as window:
        page = window.new_page()
        page.goto("/")
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true })")
        page.get_by_label("API key").fill(service.key)
        page.get_by_label("JSON Schema").fill("{}")
        answer_with(page, answered(json.dumps({"a": {"unbroken" * 40: ["unbroken" * 40, 1.5, True]}})))
        ask(page, "Hello")
        expect(page.locator(".tree")).to_be_visible()
        page.get_by_label("JSON Schema").fill("{")
        ask(page, "Hello")
        expect(page.locator("#schema-refused")).to_be_visible()
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            run = Axe().run(page, options={"resultTypes": ["violations"], "preload": False})
            found.extend(f"{scheme} {rule['id']}: {rule['nodes']}" for rule in run.response["violations"])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert window.complaints == []
    assert found == [], "\n".join(found)
