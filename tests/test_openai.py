"""OpenAI's API: keys, models and limits."""

from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import APIKey, DailyUsage
from inference.engine.engine import Engine
from tests.openai_api import PROMPT, refused

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def test_the_key_comes_as_bearer_or_as_x_api_key(client: Client, key: str, chat_engine: Engine) -> None:
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        listed = client.get("/v1/models", headers=headers).json()
        assert [model["id"] for model in listed["data"]] == [chat_engine.model_name]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}])
def test_without_a_good_key_it_is_401(client: Client, chat_engine: Engine, headers: dict[str, str]) -> None:
    response = client.get("/v1/models", headers=headers)
    assert refused(response, 401)["code"] == "invalid_api_key"
    assert response["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"disabled_at": NOW}, "key_disabled"),
        ({"expires_at": NOW}, "key_expired"),
        ({"revoked_at": NOW}, "key_revoked"),
        ({"allowed_networks": ["192.0.2.0/24"]}, "address_not_allowed"),
    ],
)
def test_the_code_of_a_401_tells_why_a_known_key_is_refused(
    client: Client, key: str, chat_engine: Engine, fields: dict[str, Any], code: str
) -> None:
    APIKey.objects.update(**fields)
    response = client.get("/v1/models", headers={"Authorization": f"Bearer {key}"})
    assert refused(response, 401)["code"] == code


def test_one_model_by_its_name(client: Client, key: str, chat_engine: Engine) -> None:
    headers = {"X-API-Key": key}
    assert client.get(f"/v1/models/{chat_engine.model_name}", headers=headers).json()["object"] == "model"
    error = refused(client.get("/v1/models/gpt-4o", headers=headers), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_another_model_is_not_found(call: Any) -> None:
    error = refused(call("completions", prompt=PROMPT, model="gpt-4o"), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")
    assert DailyUsage.objects.get().invalid == 1


def test_a_user_may_be_empty(call: Any) -> None:
    assert call("completions", prompt=PROMPT, user="").status_code == 200


def test_refused_requests_are_counted_in_the_usage_of_the_key(call: Any) -> None:
    refused(call("completions", prompt=""), 400)
    refused(call("chat/completions", messages=[]), 400)
    APIKey.objects.update(disabled_at=timezone.now())
    refused(call("completions", prompt=PROMPT), 401)
    used = DailyUsage.objects.order_by("endpoint").values_list("endpoint", "invalid", "forbidden")
    assert list(used) == [("/v1/chat/completions", 1, 0), ("/v1/completions", 1, 1)]


def test_used_up_tokens_are_not_worth_a_retry(call: Any) -> None:
    APIKey.objects.update(tokens_per_day=40)
    assert call("completions", prompt=PROMPT, max_tokens=30).status_code == 200
    response = call("completions", prompt=PROMPT, max_tokens=30)
    assert refused(response, 429)["code"] == "insufficient_quota"
    assert response["X-Should-Retry"] == "false"
    assert int(response["Retry-After"]) > 0


def test_too_many_requests_may_be_tried_again(call: Any) -> None:
    APIKey.objects.update(requests_per_minute=1, burst=1)
    assert call("completions", prompt=PROMPT, max_tokens=1).status_code == 200
    response = call("completions", prompt=PROMPT, max_tokens=1)
    assert refused(response, 429)["code"] == "rate_limit_exceeded"
    assert "X-Should-Retry" not in response
    assert int(response["Retry-After"]) > 0
