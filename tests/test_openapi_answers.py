"""What each endpoint really answers is what the OpenAPI document says that it answers.

A new endpoint has to be in `ANSWERED`, with a request for each form of its answer.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client, override_settings
from pytest_django import Settings

from accounts import services
from inference import runtime
from inference.engine.engine import Engine
from tests.openai_api import USER
from tests.openapi_document import check_answer, operations, served

# A secret of the key in the header; `None` in place of a body stands for GET.
CHAT = "/v1/chat/completions"
GENERATE = {"prompt": "Once", "max_new_tokens": 3}
COMPLETION = {"prompt": ["Once", "upon"], "max_tokens": 3, "n": 2}
MESSAGES = {"messages": USER, "max_tokens": 3}
RESPONSES = "/v1/responses"
INPUT = {"input": "Hi", "max_output_tokens": 3}
JSON = {"format": {"type": "json_schema", "name": "a", "schema": {"enum": [1]}}}
LOGPROBS = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
STREAM = {"stream": True}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
ANSWERED: list[tuple[str, dict[str, Any] | None]] = [
    ("/health", None),
    ("/ready", None),
    ("/generate", GENERATE),
    ("/generate", {**GENERATE, **STREAM}),
    ("/v1/models", None),
    ("/v1/models/{name}", None),
    ("/v1/completions", COMPLETION),
    ("/v1/completions", {**COMPLETION, "echo": True, "logprobs": 2, "return_token_ids": True}),
    ("/v1/completions", {**COMPLETION, "echo": True, "max_tokens": 0}),
    ("/v1/completions", {**COMPLETION, **STREAM}),
    ("/v1/completions", {**COMPLETION, **USAGE, "echo": True, "logprobs": 2, "return_token_ids": True}),
    (CHAT, MESSAGES),
    (CHAT, {**MESSAGES, "n": 2, "logprobs": True, "top_logprobs": 2, "return_token_ids": True}),
    (CHAT, {**MESSAGES, **STREAM}),
    (CHAT, {**MESSAGES, **USAGE, "logprobs": True, "top_logprobs": 2, "return_token_ids": True}),
    (RESPONSES, INPUT),
    (RESPONSES, {**INPUT, **LOGPROBS, "user": "u", "metadata": {"a": "b"}}),
    (RESPONSES, {**INPUT, "text": JSON}),
    (RESPONSES, {**INPUT, **STREAM}),
    (RESPONSES, {**INPUT, **STREAM, **LOGPROBS}),
    ("/tokenize", {"prompt": "Once", "return_token_strs": True}),
    ("/tokenize", {"messages": USER}),
    ("/detokenize", {"tokens": [65, 66]}),
    ("/keys/me", None),
    ("/keys/revoke", {"secret": "a"}),
    ("/keys/me/rotate", {}),
]
LIMITS = {"requests_per_minute": 1, "tokens_per_day": 1000, "max_concurrent": 1}


@pytest.fixture(scope="module")
def document(chat_engine: Engine) -> dict[str, Any]:
    with override_settings(LLM_MODEL=chat_engine.model_name):
        return served(Client())


def post(client: Client, path: str, body: Any, **headers: str) -> Any:
    return client.post(path, body, headers.pop("content_type", "application/json"), headers=headers)


def ask(client: Client, path: str, body: dict[str, Any] | None, *, key: str, model: str) -> Any:
    if body is None:
        return client.get(path.format(name=model), headers={"X-API-Key": key})
    named = {"model": model, **body} if path.startswith("/v1/") else body
    return client.post(path, json.dumps(named), content_type="application/json", headers={"X-API-Key": key})


@pytest.mark.parametrize(("path", "body"), ANSWERED)
def test_an_answer_has_the_fields_that_the_document_lists_and_no_other(
    client: Client, document: dict[str, Any], key: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = ask(client, path, body, key=key, model=runtime.backend().model_name)
    assert answer.status_code == 200, answer.content
    check_answer(document, path, "get" if body is None else "post", answer)


def test_every_form_of_every_answer_is_among_these(document: dict[str, Any]) -> None:
    described = {
        (path, media_type)
        for path, _, operation in operations(document)
        for media_type in operation["responses"]["200"]["content"]
    }
    asked = {
        (path, "text/event-stream" if body and body.get("stream") else "application/json")
        for path, body in ANSWERED
    }
    assert asked == described


def refusals(client: Client, *, key: str, limited: str) -> Iterator[tuple[str, str, Any]]:
    """Requests that are refused, by path and method. `limited` may be used once."""
    for path in ("/generate", "/v1/completions", CHAT, RESPONSES, "/keys/me/rotate", "/keys/revoke"):
        with_key = {"X-API-Key": key}
        yield path, "post", post(client, path, "{", **with_key)
        yield path, "post", post(client, path, {"x": 1}, **with_key)
        yield path, "post", post(client, path, "{}", content_type="text/plain", **with_key)
        if not path.startswith("/v1/"):
            yield path, "post", post(client, path, "x" * 2000, **with_key)
        if path != "/keys/revoke":
            yield path, "post", post(client, path, {})
    for path in ("/v1/models", "/keys/me"):
        yield path, "get", client.get(path)
    yield "/v1/models/{name}", "get", client.get("/v1/models/gpt-4o", headers={"X-API-Key": key})
    for path, body in [("/generate", GENERATE), ("/generate", GENERATE), (CHAT, MESSAGES)]:
        yield path, "post", ask(client, path, body, key=limited, model=runtime.backend().model_name)
    # Rotating replaces the secret.
    for _ in range(2):
        yield "/keys/me/rotate", "post", post(client, "/keys/me/rotate", {}, **{"X-API-Key": limited})


def test_every_refusal_is_described(
    client: Client, document: dict[str, Any], key: str, settings: Settings
) -> None:
    settings.MAX_BODY_BYTES = 1000
    limited = services.create_key(name="limited", limits=LIMITS).plaintext
    statuses = set()
    for path, method, answer in refusals(client, key=key, limited=limited):
        statuses.add(answer.status_code)
        check_answer(document, path, method, answer)
    assert statuses == {200, 400, 401, 403, 404, 409, 413, 415, 422, 429}


def test_every_answer_of_a_service_without_a_model_is_described(
    client: Client, document: dict[str, Any], key: str, chat_engine: Engine
) -> None:
    runtime.drain()
    try:
        for path, body in ANSWERED:
            if path.startswith("/keys/"):
                continue
            answer = ask(client, path, body, key=key, model=chat_engine.model_name)
            assert answer.status_code == (200 if path == "/health" else 503)
            check_answer(document, path, "get" if body is None else "post", answer)
    finally:
        runtime.install(chat_engine)
