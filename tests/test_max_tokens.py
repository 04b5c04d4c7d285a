"""The most new tokens that a request of a key may ask for."""

import json
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from accounts import services
from accounts.models import APIKey, EventKind, KeyEvent
from accounts.templatetags.keys import event_details
from inference.engine.engine import Engine
from tests.admin_pages import LIST, change, text
from tests.openai_api import PROMPT, USER, refused
from tests.problems import problem

pytestmark = pytest.mark.django_db

MOST = 5


@pytest.fixture
def bound(key: str) -> str:
    """The secret of a key that may ask for `MOST` new tokens."""
    APIKey.objects.update(max_tokens=MOST)
    return key


def generate(client: Client, secret: str, **body: Any) -> Any:
    return client.post(
        "/generate", json.dumps(body), content_type="application/json", headers={"X-API-Key": secret}
    )


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize(
    ("path", "field", "prompt"),
    [
        ("completions", "max_tokens", {"prompt": PROMPT}),
        ("chat/completions", "max_tokens", {"messages": USER}),
        ("chat/completions", "max_completion_tokens", {"messages": USER}),
        ("responses", "max_output_tokens", {"input": "Hi"}),
    ],
)
def test_under_v1_more_is_refused_with_the_field_and_the_limit(
    call: Any, path: str, field: str, prompt: dict[str, Any]
) -> None:
    assert call(path, **prompt, **{field: MOST}).status_code == 200

    error = refused(call(path, **prompt, **{field: MOST + 1}), 400)

    assert (error["param"], error["code"]) == (field, "exceeds_max_tokens")
    assert f"at most {MOST}" in error["message"]


@pytest.mark.usefixtures("bound")
@pytest.mark.parametrize(
    ("path", "prompt"), [("completions", {"prompt": PROMPT}), ("chat/completions", {"messages": USER})]
)
def test_under_v1_a_text_ends_at_the_limit_where_the_field_is_absent(
    call: Any, path: str, prompt: dict[str, Any]
) -> None:
    for absent in ({}, {"max_tokens": None}):
        answer = call(path, **prompt, **absent, ignore_eos=True, n=2).json()
        assert [choice["finish_reason"] for choice in answer["choices"]] == ["length", "length"]
        assert answer["usage"]["completion_tokens"] == 2 * MOST


def test_generate_refuses_more_and_ends_at_the_limit(client: Client, bound: str, engine: Engine) -> None:
    document = problem(generate(client, bound, prompt=PROMPT, max_new_tokens=MOST + 1), 422)
    assert document["code"] == "exceeds_max_tokens"
    assert [error["field"] for error in document["errors"]] == ["max_new_tokens"]

    assert generate(client, bound, prompt=PROMPT, max_new_tokens=MOST).status_code == 200
    assert generate(client, bound, prompt=PROMPT).json()["usage"]["completion_tokens"] <= MOST


def test_the_default_of_the_service_applies_to_keys_without_a_limit_of_their_own(
    client: Client, key: str, engine: Engine, settings: Settings
) -> None:
    settings.LLM_KEY_MAX_TOKENS = 3
    problem(generate(client, key, prompt=PROMPT, max_new_tokens=4), 422)
    APIKey.objects.update(max_tokens=0)
    assert generate(client, key, prompt=PROMPT, max_new_tokens=4).status_code == 200


def test_the_holder_of_the_key_sees_it(client: Client, bound: str) -> None:
    answer = client.get("/keys/me", headers={"X-API-Key": bound}).json()
    assert answer["limits"]["max_tokens"] == MOST


def test_commands_and_the_admin_set_it(admin_client: Client) -> None:
    call_command("create_key", "search", "--max-tokens", "100")
    key = APIKey.objects.get()
    assert key.max_tokens == 100
    call_command("change_limits", "search", "--max-tokens", "unlimited")
    change(admin_client, key, max_tokens="2000")
    events = KeyEvent.objects.filter(kind=EventKind.LIMITS_CHANGED).order_by("pk")
    assert [event_details(event) for event in events] == [
        "max tokens: 100 → unlimited",
        "max tokens: unlimited → 2,000",
    ]
    assert "max_tokens 2k" in text(admin_client.get(LIST))
    services.revoke(key=key)
    assert "2,000" in text(admin_client.get(f"{LIST}{key.pk}/change/"))
