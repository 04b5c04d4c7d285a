"""The page at `/` as it leaves the server; tests/e2e/test_playground_browser.py uses it in Chromium."""

import re
from pathlib import Path

from django.contrib.staticfiles import finders
from django.test import Client
from pytest_django import Settings

IMPORT = re.compile(r'from "\./([a-z_]+\.js)"')


def page(client: Client) -> str:
    response = client.get("/")
    assert response.status_code == 200
    return response.content.decode()


def source(name: str) -> str:
    path = finders.find(name)
    assert isinstance(path, str), name
    return Path(path).read_text()


def test_it_needs_neither_a_key_nor_the_database_nor_a_loaded_model(client: Client) -> None:
    text = page(client)
    assert '<a href="/docs">' in text
    assert '<a href="/admin/">' in text


def test_it_names_the_model_as_requests_have_to(client: Client, settings: Settings) -> None:
    settings.LLM_MODEL = "./some/folder/<b>&model"
    text = page(client)
    assert 'data-model="&lt;b&gt;&amp;model"' in text
    assert "<b>" not in text
    assert "some/folder" not in text


def test_it_proposes_no_more_tokens_than_the_service_allows(client: Client, settings: Settings) -> None:
    [field] = re.findall(r'<input id="max_tokens"[^>]*>', page(client))
    assert 'value="256"' in field
    settings.LLM_MAX_NEW_TOKENS = 40
    [field] = re.findall(r'<input id="max_tokens"[^>]*>', page(client))
    assert 'value="40"' in field


def test_all_that_it_loads_is_there_and_its_own(client: Client) -> None:
    text = page(client)
    assert "//" not in text
    to_read = re.findall(r'(?:src|href)="/static/([^"]+)"', text)
    seen = set(to_read)
    assert {name.rpartition(".")[2] for name in seen} == {"js", "css", "svg"}
    while to_read:
        name = to_read.pop()
        imported = {f"{name.rpartition('/')[0]}/{other}" for other in IMPORT.findall(source(name))}
        to_read += sorted(imported - seen)
        seen |= imported
    folder = Path(str(finders.find("inference/playground/main.js"))).parent
    assert {f"inference/playground/{file.name}" for file in folder.iterdir()} <= seen


def test_nothing_offers_to_store_the_key(client: Client) -> None:
    [field] = re.findall(r'<input id="key"[^>]*>', page(client))
    assert 'autocomplete="off"' in field
    assert "name=" not in field
    assert "password" not in field
