"""The documentation says what the code says, and its links lead somewhere."""

import json
import re
from pathlib import Path

import pytest

import accounts.urls
import inference.urls
from accounts import tokens
from inference.api.serializers import GenerateRequestSerializer
from llmservice.environment import BASE_DIR
from llmservice.http import codes
from tests.markdown import BLOCK, PAGES

README = (BASE_DIR / "README.md").read_text()
API = (BASE_DIR / "docs" / "api.md").read_text()
KEYS = (BASE_DIR / "docs" / "keys.md").read_text()
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", BLOCK.sub("", text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), f"{target}#{anchor}"


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 150


def test_the_readme_lists_every_endpoint_and_no_other() -> None:
    [section] = re.findall(r"^## Endpoints\n(.*?)^## ", README, flags=re.MULTILINE | re.DOTALL)
    listed = re.findall(r"`(?:[A-Z]+ )?(/[a-z0-9/{}]*)`", section)
    of_the_apps = {
        re.sub(r"<\w+:\w+>", "{id}", f"/{route.pattern}")
        for app in (accounts.urls, inference.urls)
        for route in app.urlpatterns
    }
    assert len(listed) == len(set(listed))
    assert set(listed) == of_the_apps | {"/metrics", "/docs", "/schema", "/admin/"}


def test_the_api_page_lists_every_field_of_generate_with_its_default() -> None:
    table = re.findall(r"^\| `(\w+)` \| (\S+) \|", API, flags=re.MULTILINE)
    fields = GenerateRequestSerializer().fields
    expected = [
        (name, "required" if field.required else json.dumps(field.default)) for name, field in fields.items()
    ]
    assert table[: len(expected)] == expected


def test_the_api_page_lists_every_code_of_a_problem_with_its_status_and_meaning() -> None:
    table = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (.+) \|$", API, flags=re.MULTILINE)
    assert table == [(code.name, str(code.status), code.meaning) for code in codes.declared()]


def test_the_expression_for_secret_scanners_finds_secrets_and_not_what_is_like_them() -> None:
    [expression] = re.findall(r"`(\\bllms_\S+)`", KEYS)
    secret = tokens.generate()
    found = re.findall(expression, f"key={secret}\nllms_tooshort {secret}x x{secret} '{secret}'")
    assert found == [secret, secret]
