"""Every error at an address of OpenAI's API is its error object, whoever answers it."""

from typing import Any

import pytest
from django.test import Client
from gunicorn.config import Config
from gunicorn.http import errors

from inference.engine.engine import Engine
from llmservice.http import openai_error
from llmservice.server import refusals
from llmservice.server.incoming import Incoming
from tests.models import CONTEXT_LENGTH
from tests.openai_api import USER, error_of, refused
from tests.problems import problem


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/chat/completions/", "/v1/", "/v1"])
def test_an_unknown_address(client: Client, path: str) -> None:
    assert refused(client.get(path), 404)["code"] == "not_found"


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/v1/completions", "/v1/models", "/tokenize", "/detokenize"])
def test_a_method_that_is_not_supported(client: Client, path: str) -> None:
    response = client.delete(path)
    assert refused(response, 405)["code"] == "method_not_allowed"
    assert response["Allow"]


def test_an_unknown_host(client: Client) -> None:
    assert refused(client.get("/v1/models", headers={"Host": "elsewhere"}), 400)["code"] == "unknown_host"


@pytest.mark.parametrize(
    ("headers", "body", "status"), [({}, "x" * 11, 413), ({"Content-Encoding": "gzip"}, "x", 415)]
)
def test_what_is_refused_before_the_view(
    client: Client, settings: Any, headers: dict[str, str], body: str, status: int
) -> None:
    settings.MAX_BODY_BYTES = 10
    for path in ("/v1/completions", "/tokenize"):
        refused(client.post(path, body, "application/json", headers=headers), status)
    problem(client.post("/generate", body, "application/json", headers=headers), status)


@pytest.mark.django_db
def test_a_body_that_is_not_json(client: Client, key: str, engine: Engine) -> None:
    headers = {"X-API-Key": key}
    refused(client.post("/v1/completions", "{", "application/json", headers=headers), 400)
    refused(client.post("/v1/completions", "a=1", "text/plain", headers=headers), 415)


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        (b"POST /v1/completions?a=/b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n12", "/v1/completions"),
        (b"POST http://a/v1/completions HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", "/v1/completions"),
        (b"POST /v1/models HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, "/v1/models"),
        (b"GET /tokenize HTTP/9.9\r\n\r\n", "/tokenize"),
        (b"GET http://[/v1/ HTTP/1.1\r\n\r\n", "/v1/"),
        (b"GET /v1/models", ""),
        (b"\x00\xff \r\n\r\n", ""),
    ],
)
def test_the_server_knows_the_path_of_what_it_refuses(sent: bytes, path: str) -> None:
    incoming = Incoming(Config(), ("127.0.0.1", 1), max_body_bytes=100)
    incoming.feed(sent)
    incoming.ended = True
    with pytest.raises(errors.ParseException):
        incoming.take()
    assert incoming.path == path


def test_the_path_is_that_of_the_last_request() -> None:
    incoming = Incoming(Config(), ("127.0.0.1", 1), max_body_bytes=100)
    incoming.feed(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\nGET /health HTTP/1.1\r\nHost: a\r\n")
    assert incoming.take() is not None
    assert incoming.path == "/health"


def test_what_the_server_refuses_has_the_form_of_the_address() -> None:
    error = error_of(refusals.answer(408, openai_form=True, reason="the body took too long"))
    assert (error["type"], error["code"]) == ("invalid_request_error", "request_timeout")
    assert b"application/problem+json" in refusals.answer(408, reason="the body took too long")
    assert not openai_error.is_form_of("/generate")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "body", "param", "limit"),
    [
        ("completions", {"prompt": "x" * CONTEXT_LENGTH, "max_tokens": 2}, "prompt", "max_tokens"),
        ("completions", {"prompt": [65] * CONTEXT_LENGTH}, "prompt", "the answer"),
        ("chat/completions", {"max_tokens": 250}, "messages", "max_tokens"),
        ("chat/completions", {"max_completion_tokens": 250}, "messages", "max_completion_tokens"),
        ("chat/completions", {"messages": [{**USER[0], "content": "x" * 300}]}, "messages", "the answer"),
    ],
)
def test_a_prompt_that_is_too_long_is_named_as_the_client_named_it(
    call: Any, path: str, body: Any, param: str, limit: str
) -> None:
    error = refused(call(path, **({"messages": USER} if param == "messages" else {}) | body), 400)
    assert (error["param"], error["code"]) == (param, "context_length_exceeded")
    assert error["message"].startswith(f"This model's maximum context length is {CONTEXT_LENGTH} tokens")
    assert f"for {param} and " in error["message"]
    assert error["message"].endswith(f" for {limit}.")
    assert "new_tokens" not in error["message"]
