"""What the tests of the playground do in it."""

import json
from typing import Any

from playwright.sync_api import Page, Request, Route, expect

from tests.e2e.browser import Browsing


def open_playground(window: Browsing, *, key: str) -> Page:
    """The playground with a key and short, repeatable answers."""
    page = window.new_page()
    page.goto("/")
    page.get_by_label("API key").fill(key)
    page.get_by_label("Max tokens").fill("12")
    page.get_by_label("Temperature").fill("0")
    return page


def answer_with(page: Page, events: str) -> None:
    """Answer chats with these events instead of the service's."""

    def fulfill(route: Route) -> None:
        route.fulfill(status=200, content_type="text/event-stream", body=events)

    page.unroute("**/v1/chat/completions")
    page.route("**/v1/chat/completions", fulfill)


def ask(page: Page, text: str) -> None:
    page.locator("#prompt").fill(text)
    page.locator("#prompt").press("Enter")


def body_of(request: Request) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(request.post_data or "")
    return body


def answers(page: Page, count: int = 1) -> list[str]:
    """The texts of the answers, once there are `count` complete ones."""
    complete = page.locator(".answer[aria-busy=false] .text:visible")
    expect(complete).to_have_count(count, timeout=60_000)
    return complete.all_inner_texts()
