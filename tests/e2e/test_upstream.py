"""A node of this service as the engine behind another one: the same texts, counts and errors."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from django.test import Client

from accounts.models import APIKey, DailyUsage
from inference import runtime
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.upstream.backend import UpstreamBackend
from inference.engine.upstream.config import UpstreamConfig
from inference.metering import Metered
from tests.e2e.conftest import Service
from tests.openai_api import chunks
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db

Post = Callable[..., Any]

TOOL = {"type": "function", "function": {"name": "paint", "parameters": {
    "type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"],
    "additionalProperties": False,
}}}  # fmt: skip
COLOUR = {"messages": [{"role": "user", "content": "Name a colour."}], "max_tokens": 12, "seed": 7}
BODIES = [
    ("/generate", {"prompt": "The capital of France is", "max_new_tokens": 12, "seed": 7, "top_p": 0.9}),
    (
        "/generate",
        {"prompt": "One, two,", "max_new_tokens": 12, "seed": 1, "do_sample": False, "stop": ["f"]},
    ),
    ("/generate", {"prompt": "A number:", "max_new_tokens": 12, "seed": 1, "regex": " [0-9]{3}"}),
    ("/v1/completions", {"prompt": ["One", "Two"], "max_tokens": 5, "n": 2, "seed": 3, "min_p": 0.05}),
    ("/v1/completions", {"prompt": [40, 716, 253], "max_tokens": 5, "seed": 3, "return_token_ids": True}),
    ("/v1/completions", {"prompt": "Once", "max_tokens": 5, "seed": 3, "logprobs": 2}),
    ("/v1/completions", {"prompt": "Once", "max_tokens": 5, "seed": 3, "echo": True}),
    ("/v1/chat/completions", COLOUR),
    ("/v1/chat/completions", {**COLOUR, "logprobs": True, "top_logprobs": 2}),
    ("/v1/chat/completions", {**COLOUR, "response_format": {"type": "json_object"}}),
    ("/v1/chat/completions", {**COLOUR, "max_tokens": 40, "tools": [TOOL], "tool_choice": "required"}),
    ("/tokenize", {"prompt": "The capital"}),
    ("/detokenize", {"tokens": [40, 716, 253]}),
]
DIFFERENT = {"prompt_tokens_details", "id", "created", "system_fingerprint", "tool_calls"}


@pytest.fixture(scope="module")
def backend(service: Service) -> Iterator[UpstreamBackend]:
    """The backend of this process, with the node behind it."""
    backend = UpstreamBackend(UpstreamConfig(url=service.url, api_key=service.key, salt_key=b"salt"))
    backend.start()
    backend.connect()
    runtime.install(backend)
    yield backend
    runtime.stop()


@pytest.fixture
def front(client: Client, key: str, backend: UpstreamBackend) -> Post:
    """Posts a body to this process."""

    def post(path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}", "X-API-Key": key}
        return client.post(path, json.dumps(body), content_type="application/json", headers=headers)

    return post


@pytest.fixture
def node(service: Service) -> Iterator[Post]:
    """Posts a body to the node itself."""
    headers = {"Authorization": f"Bearer {service.key}", "X-API-Key": service.key}
    with httpx.Client(base_url=service.url, headers=headers, timeout=120) as client:
        yield lambda path, body: client.post(path, json=body)


def named(path: str, body: dict[str, Any], backend: UpstreamBackend) -> dict[str, Any]:
    return body if path == "/generate" else {"model": backend.model_name, **body}


def comparable(answer: Any) -> Any:
    """The answer without what differs between two of the same request."""
    if isinstance(answer, list):
        return [comparable(item) for item in answer]
    if not isinstance(answer, dict):
        return answer
    calls = [call["function"] for call in answer.get("tool_calls") or ()]
    kept = {name: comparable(value) for name, value in answer.items() if name not in DIFFERENT}
    return {**kept, "calls": calls} if calls else kept


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_an_answer_is_that_of_the_node_itself(
    front: Post, node: Post, backend: UpstreamBackend, path: str, body: dict[str, Any]
) -> None:
    body = named(path, body, backend)
    ours, theirs = front(path, body), node(path, body)

    assert ours.status_code == 200, ours.content
    assert comparable(ours.json()) == comparable(theirs.json())
    usage = ours.json().get("usage")
    if usage:
        row = DailyUsage.objects.get()
        assert row.finished == 1
        assert (row.prompt_tokens, row.completion_tokens) == (
            usage["prompt_tokens"], usage["completion_tokens"],
        )  # fmt: skip


def test_a_streamed_answer_has_the_same_text_and_usage(
    front: Post, node: Post, backend: UpstreamBackend
) -> None:
    body = {**named("/v1", COLOUR, backend), "n": 2}
    options = {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}}
    whole = node("/v1/chat/completions", body).json()

    answer = front("/v1/chat/completions", body | options)
    found = chunks(answer)

    for index, choice in enumerate(whole["choices"]):
        deltas = [
            one["choices"][0] for one in found if one["choices"] and one["choices"][0]["index"] == index
        ]
        assert "".join(one["delta"].get("content") or "" for one in deltas) == choice["message"]["content"]
        assert deltas[-1]["finish_reason"] == choice["finish_reason"]
    assert comparable(found[-1]["usage"]) == comparable(whole["usage"])


def test_a_field_that_the_node_refuses_is_named(front: Post, backend: UpstreamBackend) -> None:
    body = {"prompt": "A", "regex": "(?<=a)b", "max_new_tokens": 3}
    refused = front("/generate", body)
    assert refused.status_code == 422
    assert refused.json()["code"] == "upstream_refused"
    assert DailyUsage.objects.get().invalid + DailyUsage.objects.get().failed == 1

    too_long = front("/v1/chat/completions", named("/v1", {**COLOUR, "max_tokens": 10**6}, backend))
    assert too_long.status_code == 400


def test_a_request_that_is_closed_ends_at_the_node_too(
    key: str, service: Service, backend: UpstreamBackend
) -> None:
    before = running(service)
    request = GenerationRequest(
        prompt="Once upon a time", sampling=SamplingParams(seed=1), max_new_tokens=200, timeout_s=60
    )
    metered = Metered(key=APIKey.objects.get(), backend=backend, requests=[request]).admit()
    events = metered.events(60)
    next(events)

    events.close()

    row = DailyUsage.objects.get()
    assert row.cancelled == 1
    assert 0 < row.completion_tokens < 200
    assert row.prompt_tokens == 4
    wait_for(lambda: running(service) <= before)


def running(service: Service) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    [line] = [line for line in text.splitlines() if line.startswith("llmservice_running_requests ")]
    return float(line.split()[1])


def test_the_limits_of_a_key_count_here(front: Post) -> None:
    APIKey.objects.update(tokens_per_day=10)
    refused = front("/generate", {"prompt": "Once upon a time", "max_new_tokens": 20})
    assert (refused.status_code, refused.json()["code"]) == (422, "exceeds_day")


def test_it_is_ready_while_the_node_answers(client: Client, backend: UpstreamBackend) -> None:
    answer = client.get("/ready")
    assert (answer.status_code, answer.json()["model"]) == (200, backend.model_name)
