"""What a browser lets the pages of other origins do: nothing by default, or to call the API."""

import json
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from inference.engine.engine import Engine
from llmservice.cors import check_origin
from llmservice.environment import Environment
from tests.test_request_log import log as log
from tests.test_settings import settings_of

APP = "https://app.example"
ALLOW_ORIGIN = "Access-Control-Allow-Origin"
PREFLIGHT = {
    "Origin": APP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    names = ("MIDDLEWARE", "CORS_ALLOWED_ORIGINS")
    folder = tmp_path_factory.mktemp("var")
    return dict(zip(names, settings_of(folder, *names, CORS_ALLOWED_ORIGINS=APP), strict=True))


@pytest.fixture
def allowed(settings: Settings, configured: dict[str, Any]) -> Client:
    """A client of a service that was started with `CORS_ALLOWED_ORIGINS`."""
    for name, value in configured.items():
        setattr(settings, name, value)
    return Client()


def test_by_default_no_page_of_another_origin_may_call_the_api(client: Client) -> None:
    response = client.options("/v1/models", headers=PREFLIGHT)
    assert response.status_code == 405
    assert not [name for name in response.headers if name.startswith("Access-Control")]


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions", "/generate", "/keys/me", "/health"])
def test_a_preflight_needs_no_key_and_is_no_failure(
    allowed: Client, log: list[dict[str, Any]], path: str
) -> None:
    response = allowed.options(path, headers=PREFLIGHT)
    assert response.status_code == 200
    assert response[ALLOW_ORIGIN] == APP
    assert {"GET", "POST"} == set(response["Access-Control-Allow-Methods"].split(", "))
    permitted = response["Access-Control-Allow-Headers"].split(", ")
    assert {"authorization", "x-api-key", "content-type", "x-stainless-lang"} <= set(permitted)
    assert "Access-Control-Allow-Credentials" not in response
    assert log[-1]["status"] == 200
    assert "reason" not in log[-1]


def test_a_page_reads_answers_errors_and_their_headers(allowed: Client) -> None:
    response = allowed.post("/v1/completions", "{}", content_type="application/json", headers={"Origin": APP})
    assert response.status_code == 401
    assert response[ALLOW_ORIGIN] == APP
    assert "origin" in response["Vary"].lower()
    readable = set(response["Access-Control-Expose-Headers"].lower().split(", "))
    assert {"x-request-id", "retry-after", "ratelimit", "x-should-retry"} <= readable


@pytest.mark.django_db
def test_a_page_reads_a_text(allowed: Client, key: str, engine: Engine) -> None:
    headers = {"Origin": APP, "X-API-Key": key}
    body = json.dumps({"prompt": "Once", "max_new_tokens": 1})
    response = allowed.post("/generate", body, content_type="application/json", headers=headers)
    assert (response.status_code, response[ALLOW_ORIGIN]) == (200, APP)


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "null", "https://["])
def test_other_origins_get_nothing(allowed: Client, origin: str) -> None:
    for response in (
        allowed.options("/generate", headers={**PREFLIGHT, "Origin": origin}),
        allowed.get("/health", headers={"Origin": origin}),
    ):
        assert ALLOW_ORIGIN not in response


@pytest.mark.django_db
def test_the_admin_and_the_metrics_are_closed_to_every_origin(allowed: Client) -> None:
    for path in (reverse("admin:login"), reverse("admin:index"), "/metrics", "/docs", "/v1"):
        for response in (
            allowed.get(path, headers={"Origin": APP}),
            allowed.options(path, headers=PREFLIGHT),
        ):
            assert ALLOW_ORIGIN not in response, path


@pytest.mark.parametrize("origin", [APP, "http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"])
def test_what_a_browser_sends_is_an_origin(origin: str) -> None:
    check_origin(origin)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("*", "is not an origin such as"),
        ("app.example", "is not an origin such as"),
        ("null", "is not an origin such as"),
        ("ftp://app.example", "is not an origin such as"),
        ("https://user@app.example", "is not an origin such as"),
        ("https://*.app.example", "name each origin"),
        ("https://app.example/", "write https://app.example"),
        ("https://app.example/page?a=b#c", "write https://app.example"),
        ("https://App.Example", "write https://app.example"),
        ("https://app.example:443", "write https://app.example"),
        ("https://app.example:99999", "Port out of range"),
        ("https://app.example:", "write https://app.example"),
    ],
)
def test_anything_else_stops_the_start_with_a_sentence(text: str, advice: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^CORS_ALLOWED_ORIGINS .*") as refusal:
        Environment.read({"CORS_ALLOWED_ORIGINS": f"{APP}, {text}"})
    assert advice in str(refusal.value)
