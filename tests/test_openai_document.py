"""Answers are what OpenAI's published document and its own client's types say, whole and streamed."""

import json
from typing import Any

import pytest
from django.test import Client
from openai.types import Completion, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from inference.engine.engine import Engine
from tests.openai_api import PROMPT, USER, chunks
from tests.openai_document import ROOTS, validator

pytestmark = pytest.mark.django_db

# The endpoint and the body; the schemas of the answer and of a chunk, and the client's types of them.
COMPLETION = ("completions", "CreateCompletionResponse", Completion, "CreateCompletionResponse", Completion)
CHAT = (
    *("chat/completions", "CreateChatCompletionResponse", ChatCompletion),
    *("CreateChatCompletionStreamResponse", ChatCompletionChunk),
)
CASES = [
    (COMPLETION, {"prompt": PROMPT}),
    (COMPLETION, {"prompt": [PROMPT, "é"], "n": 2, "logprobs": 2, "seed": 1}),
    (COMPLETION, {"prompt": "é", "echo": True, "logprobs": 0, "max_tokens": 3}),
    (COMPLETION, {"prompt": "a", "echo": True, "max_tokens": 0}),
    (CHAT, {"messages": USER, "max_tokens": 8}),
    (CHAT, {"messages": USER, "max_tokens": 8, "n": 2, "logprobs": True, "top_logprobs": 2}),
    (CHAT, {"messages": USER, "max_tokens": 8, "logprobs": True, "return_token_ids": True}),
]
# The client's types are stricter than the answers of OpenAI itself: they do not know these as null.
NULLS = {"finish_reason", "token_logprobs", "top_logprobs"}


def check(schema: str, kind: Any, answer: Any) -> None:
    validator(schema).validate(answer)
    TypeAdapter(kind).validate_json(json.dumps(without_nulls(answer)))


def without_nulls(answer: Any) -> Any:
    if isinstance(answer, list):
        return [without_nulls(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    return {name: _filled(name, without_nulls(value)) for name, value in answer.items()}


def _filled(name: str, value: Any) -> Any:
    if name == "finish_reason" and value is None:
        return "stop"
    if name in NULLS and isinstance(value, list):
        return [item for item in value if item is not None]
    return value


@pytest.mark.parametrize("fingerprint", [None, "fp_1"])
@pytest.mark.parametrize(("endpoint", "body"), CASES)
def test_an_answer_is_as_the_document_says(
    call: Any,
    chat_engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: Any,
    body: Any,
    fingerprint: Any,
) -> None:
    monkeypatch.setattr(chat_engine, "fingerprint", fingerprint)
    path, schema, kind, chunk_schema, chunk_kind = endpoint
    answer = call(path, **body)
    assert answer.status_code == 200
    check(schema, kind, answer.json())
    for options in (None, {"include_usage": True}):
        streamed = chunks(call(path, **body, stream=True, stream_options=options))
        assert len(streamed) > 1 or body.get("max_tokens") == 0
        for chunk in streamed:
            check(chunk_schema, chunk_kind, chunk)


def test_models_are_as_the_document_says(client: Client, key: str, chat_engine: Engine) -> None:
    listed = client.get("/v1/models", headers={"X-API-Key": key}).json()
    validator("ListModelsResponse").validate(listed)
    check(
        "Model", Model, client.get(f"/v1/models/{chat_engine.model_name}", headers={"X-API-Key": key}).json()
    )


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/completions", {"prompt": "a", "model": "gpt-4o"}, {}),
        ("/v1/completions", {"prompt": ""}, {}),
        ("/v1/chat/completions", {"messages": []}, {}),
        ("/v1/chat/completions", {"messages": USER}, {"Authorization": "Bearer wrong"}),
        ("/v1/nothing", {}, {}),
        ("/v1/models", {}, {}),
        ("/tokenize", {}, {}),
        ("/detokenize", {"tokens": [99999]}, {}),
    ],
)
def test_an_error_is_as_the_document_says(
    client: Client, key: str, chat_engine: Engine, path: str, body: Any, headers: Any
) -> None:
    answer = client.post(path, body, "application/json", headers={"Authorization": f"Bearer {key}"} | headers)
    assert answer.status_code >= 400
    validator("ErrorResponse").validate(answer.json())


@pytest.mark.parametrize("root", ROOTS)
def test_the_document_refuses_what_is_no_answer(root: str) -> None:
    validator(root).check_schema(validator(root).schema)
    assert not validator(root).is_valid({"object": 1})
