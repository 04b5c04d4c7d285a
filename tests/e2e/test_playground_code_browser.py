"""The code that the playground copies runs, and gives the text that the page shows."""

import json
import subprocess
import sys
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.browser import browsing, needs_browser
from tests.e2e.conftest import Service
from tests.e2e.playground import answers, ask, body_of, open_playground

pytestmark = needs_browser


@pytest.fixture(scope="module")
def service(chatting_service: Service) -> Service:
    return chatting_service


# What shells, Python, JavaScript and HTML could take for something else than text.
HOSTILE = """It's "$HOME" `id` \\n \\' \\\\ ${x} {{y}} %s !! <b>&amp;</b>
'''\"\"\" é 漢字 🦜 \u2028 \x7f # end"""


def copied(page: Page, language: str) -> str:
    page.get_by_role("button", name="Get code").click()
    page.locator("#languages").get_by_text(language, exact=True).click()
    page.locator("#code-copy").click()
    expect(page.locator("#code-copy")).to_have_text("Copied")
    page.keyboard.press("Escape")
    code: str = page.evaluate("navigator.clipboard.readText()")
    return code


def streamed_text(events: str) -> str:
    chunks = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    assert chunks[-1]["usage"]["completion_tokens"] > 0
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice.get("text", choice.get("delta", {}).get("content")) or "" for choice in choices)


# No text matches it but the JSON of one string, so that the answer ends.
SCHEMA: dict[str, Any] = {
    "const": 'It\'s \\ "so" $HOME',
    "description": HOSTILE,
    "default": [None, True, 1.5, {}],
}


@pytest.mark.parametrize("mode", ["Chat", "Completion"])
def test_the_copied_code_runs_and_gives_the_same_text(service: Service, mode: str) -> None:
    with browsing(service.url) as window:
        check_the_code(open_playground(window, key=service.key), service.key, mode)
        assert window.complaints == []


def check_the_code(page: Page, key: str, mode: str) -> None:
    page.get_by_text(mode, exact=True).click()
    page.get_by_text("More settings").click()
    page.get_by_label("Seed").fill("9007199254740991")
    page.get_by_label("Top k").fill("40")
    page.get_by_label("JSON Schema").fill(json.dumps(SCHEMA))
    page.get_by_label("Max tokens").fill("40")
    page.get_by_label("Temperature").fill("1.5")
    page.get_by_label("Stop strings").fill("it's\n\"\\n$(id)")
    with page.expect_request("**/v1/**completions") as sent:
        ask(page, HOSTILE)
    answers(page)
    if mode == "Completion":
        text = page.locator(".continued").text_content() or ""
    else:
        page.get_by_role("button", name="Copy", exact=True).click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        text = page.evaluate("navigator.clipboard.readText()")
    body = body_of(sent.value)
    assert (body["prompt"] if mode == "Completion" else body["messages"][-1]["content"]) == HOSTILE
    page.locator("#prompt").fill("")

    codes = {language: copied(page, language) for language in ("curl", "Python", "JavaScript")}
    for code in codes.values():
        assert key not in code
        assert code.count("YOUR_API_KEY") == 1
    with_key = {name: code.replace("YOUR_API_KEY", key) for name, code in codes.items()}

    def run(*command: str) -> str:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    assert streamed_text(run("bash", "-c", with_key["curl"])) == text
    assert run(sys.executable, "-c", with_key["Python"]) == f"{text}\n"
    with page.expect_console_message() as logged, page.expect_request("**/v1/**completions") as by_script:
        page.evaluate(f"(async () => {{{with_key['JavaScript']}}})()")
    assert logged.value.text == text
    assert by_script.value.post_data == sent.value.post_data
