"""What OpenAI's endpoints refuse, by name."""

from typing import Any

import pytest

from tests.models import CONTEXT_LENGTH
from tests.openai_api import IMAGE, PROMPT, USER, chunks, refused

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("completions", {"prompt": ""}, "prompt"),
        ("completions", {"prompt": []}, "prompt"),
        ("completions", {"prompt": [1, "a"]}, "prompt"),
        ("completions", {"prompt": [[]]}, "prompt"),
        ("completions", {"prompt": [99999]}, "prompt"),
        ("completions", {"prompt": [-100, 65]}, "prompt"),
        ("completions", {"prompt": "a\ud800b"}, "prompt"),
        ("completions", {"prompt": ["a\0"]}, "prompt"),
        ("completions", {"prompt": "a", "stop": "\udfff"}, "stop"),
        ("completions", {"prompt": ["a"] * 40, "n": 3}, "n"),
        ("completions", {"prompt": "a", "stop_token_ids": ["x"] * 1000}, "stop_token_ids"),
        ("chat/completions", {"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ("chat/completions", {"messages": [{**USER[0], "name": "\0"}]}, "messages[0].name"),
        ("completions", {"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ("completions", {"prompt": "a", "max_tokens": 10**6}, "max_tokens"),
        ("completions", {"prompt": "a", "best_of": 3}, "best_of"),
        ("completions", {"prompt": "a", "suffix": "b"}, "suffix"),
        ("completions", {"prompt": "a", "logprobs": 21}, "logprobs"),
        ("completions", {"prompt": "a", "temperature": 2.1}, "temperature"),
        ("completions", {"prompt": "a", "stop": ["a"] * 5}, "stop"),
        ("completions", {"prompt": "a", "stop": 5}, "stop"),
        ("completions", {"prompt": "a", "logit_bias": {"a": 1}}, "logit_bias"),
        ("completions", {"prompt": "a", "logit_bias": {"5": 101}}, "logit_bias"),
        ("completions", {"prompt": "a", "logit_bias": {"99999": 1}}, "logit_bias"),
        ("completions", {"prompt": "a", "stop_token_ids": [99999]}, "stop_token_ids"),
        ("completions", {"prompt": "a", "stream_options": {}}, "stream_options"),
        ("completions", {"prompt": "a", "stream": True, "stream_options": {"b": 1}}, "stream_options.b"),
        ("completions", {"prompt": "a", "prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ("completions", {"prompt": "a", "colour": 1}, "colour"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": "a"}, "messages"),
        ("chat/completions", {"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("chat/completions", {"messages": [{"role": "user", "content": IMAGE}]}, "messages[0].content[0]"),
        ("chat/completions", {"messages": USER, "tools": []}, "tools"),
        ("chat/completions", {"messages": USER, "top_logprobs": 1}, "top_logprobs"),
        ("chat/completions", {"messages": USER, "max_tokens": 0}, "max_tokens"),
        ("chat/completions", {"messages": USER, "store": True}, "store"),
        ("chat/completions", {"messages": USER, "store": 0}, "store"),
        ("chat/completions", {"messages": USER, "service_tier": "flex"}, "service_tier"),
        ("chat/completions", {"messages": USER, "modalities": ["text", "audio"]}, "modalities"),
        ("chat/completions", {"messages": USER, "reasoning_effort": "low"}, "reasoning_effort"),
        (
            "chat/completions",
            {"messages": USER, "stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        (
            "chat/completions",
            {"messages": USER, "max_tokens": 5, "max_completion_tokens": 6},
            "max_tokens",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_supported_is_a_400_that_names_it(
    call: Any, path: str, body: Any, param: str
) -> None:
    error = refused(call(path, **body), 400)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_null_is_the_same_as_absence(call: Any) -> None:
    absent = call("completions", prompt=PROMPT, seed=1, max_tokens=4).json()["choices"]
    nulls = dict.fromkeys(
        ["n", "stop", "logprobs", "echo", "user", "suffix", "top_k", "stream", "logit_bias"]
    )
    assert call("completions", prompt=PROMPT, seed=1, max_tokens=4, **nulls).json()["choices"] == absent
    streamed = call("completions", prompt=PROMPT, stream=True, stream_options={"include_usage": None})
    assert all("usage" not in chunk for chunk in chunks(streamed))


def test_defaults_that_clients_send_change_nothing(call: Any) -> None:
    body = {"messages": USER, "seed": 1, "max_tokens": 4}
    plain = call("chat/completions", **body).json()["choices"]
    for tier in ("auto", "default", None):
        sent = {"store": False, "modalities": ["text"], "reasoning_effort": None, "service_tier": tier}
        assert call("chat/completions", **body, **sent).json()["choices"] == plain
    options = {"include_obfuscation": False}
    for path, asked in (("chat/completions", body), ("completions", {"prompt": PROMPT, "max_tokens": 4})):
        assert chunks(call(path, **asked, stream=True, stream_options=options))


def test_a_text_that_does_not_fit_the_context(call: Any) -> None:
    error = refused(call("completions", prompt="x" * CONTEXT_LENGTH, max_tokens=1), 400)
    assert error["code"] == "context_length_exceeded"
