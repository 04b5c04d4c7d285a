"""`POST /v1/responses`: the response, unstreamed."""

import math
from typing import Any

import pytest

from accounts.models import DailyUsage
from inference.engine.engine import Engine
from tests.models import CONTEXT_LENGTH, END_OF_TEXT
from tests.openai_api import USER
from tests.openai_responses import LOGPROBS, answered, text_of, without_identity

pytestmark = pytest.mark.django_db


def test_a_response_is_the_chat_of_the_same_messages(call: Any, chat_engine: Engine) -> None:
    chat = call("chat/completions", messages=USER, temperature=0, max_tokens=8).json()
    response = answered(call("responses", input="Hi", temperature=0, max_output_tokens=8))
    [item] = response["output"]
    [part] = item["content"]
    assert part == {
        "type": "output_text",
        "text": chat["choices"][0]["message"]["content"],
        "annotations": [],
        "logprobs": [],
    }
    assert (item["type"], item["role"], item["status"]) == ("message", "assistant", "incomplete")
    assert response["id"].startswith("resp_")
    assert item["id"].startswith("msg_")
    assert (response["object"], response["model"]) == ("response", chat_engine.model_name)
    assert (response["status"], response["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert response["system_fingerprint"] == chat_engine.fingerprint
    assert response["usage"] == {
        "input_tokens": chat["usage"]["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 16, "cache_write_tokens": 0},
        "output_tokens": 8,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": chat["usage"]["total_tokens"],
    }
    used = DailyUsage.objects.get(endpoint="/v1/responses")
    assert (used.completion_tokens, used.finished) == (8, 1)


def test_a_text_that_the_model_ends_is_completed(call: Any) -> None:
    text = text_of(answered(call("responses", input="Hi", temperature=0, max_output_tokens=8)))
    response = answered(call("responses", input="Hi", temperature=0, max_output_tokens=8, stop=text[4]))
    assert (response["status"], response["incomplete_details"]) == ("completed", None)
    assert response["output"][0]["status"] == "completed"
    assert response["completed_at"] >= response["created_at"]
    assert text_of(response) == text[: text.index(text[4])]


def test_the_response_says_what_was_asked(call: Any) -> None:
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 3,
        "metadata": {"order": "17"},
        "temperature": 0.5,
        "top_p": 0.9,
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "user": "u",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
    }
    harmless: dict[str, Any] = {
        "store": False,
        "background": False,
        "truncation": "disabled",
        "tools": [],
        "text": {"format": {"type": "text"}},
    }
    response = answered(call("responses", input="Hi", **asked, **harmless))
    assert {name: response[name] for name in (*asked, *harmless)} == asked | harmless


def test_absence_and_null_are_the_defaults(call: Any) -> None:
    bodies = [
        {},
        dict.fromkeys(
            ["instructions", "metadata", "temperature", "tools", "text", "store", "include", "stream_options"]
        ),
        dict.fromkeys(["previous_response_id", "conversation", "prompt", "reasoning", "service_tier"]),
    ]
    absent, *nulls = [
        without_identity(answered(call("responses", input="Hi", seed=1, max_output_tokens=4, **body)))
        for body in bodies
    ]
    for one in (absent, *nulls):
        del one["usage"]["input_tokens_details"]  # those that come later find the prompt
    assert nulls == [absent, absent]
    assert (absent["temperature"], absent["top_p"], absent["metadata"]) == (1.0, 1.0, {})
    assert (absent["store"], absent["truncation"], absent["tool_choice"]) == (False, "disabled", "auto")


@pytest.mark.parametrize(
    ("body", "written"),
    [
        ({"input": "Hi"}, "<user>Hi\n<assistant>"),
        ({"input": "Hi", "instructions": "Yo"}, "<system>Yo\n<user>Hi\n<assistant>"),
        ({"input": [{"role": "developer", "content": "Yo"}, *USER]}, "<system>Yo\n<user>Hi\n<assistant>"),
        ({"input": [{**USER[0], "type": "message", "status": "completed"}]}, "<user>Hi\n<assistant>"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text", "text": t} for t in "Hi"]}]},
            "<user>Hi\n<assistant>",
        ),
        ({"input": [*USER, {"role": "assistant", "content": "Well"}]}, "<user>Hi\n<assistant>Well"),
        ({"input": END_OF_TEXT}, f"<user>{END_OF_TEXT}\n<assistant>"),
        ({"input": "a", "instructions": END_OF_TEXT}, f"<system>{END_OF_TEXT}\n<user>a\n<assistant>"),
    ],
)  # fmt: skip
def test_the_input_is_laid_out_by_the_chat_template(
    call: Any, chat_engine: Engine, body: Any, written: str
) -> None:
    response = answered(call("responses", **body, temperature=0, max_output_tokens=6))
    # As bytes: what a user writes is never a control token.
    tokens = list(chat_engine.encode(tuple(written.encode())))
    assert response["usage"]["input_tokens"] == len(tokens) == len(written)
    if END_OF_TEXT not in written:
        text = call("completions", prompt=written, temperature=0, max_tokens=6).json()["choices"][0]["text"]
        assert text_of(response) == text


def test_an_output_goes_into_the_next_input(call: Any) -> None:
    first = answered(call("responses", input="Hi", seed=1, max_output_tokens=5, **LOGPROBS))
    items = [*USER, *first["output"], {"role": "user", "content": "Go on"}]
    messages = [*USER, {"role": "assistant", "content": text_of(first)}, items[-1]]
    second = answered(call("responses", input=items, temperature=0, max_output_tokens=5))
    chat = call("chat/completions", messages=messages, temperature=0, max_tokens=5).json()
    assert text_of(second) == chat["choices"][0]["message"]["content"]
    assert second["usage"]["total_tokens"] == chat["usage"]["total_tokens"]


def test_a_response_goes_up_to_the_rest_of_the_context_or_the_setting(call: Any, settings: Any) -> None:
    assert answered(call("responses", input="Hi"))["usage"]["total_tokens"] == CONTEXT_LENGTH
    settings.LLM_MAX_NEW_TOKENS = 7
    response = answered(call("responses", input="Hi"))
    assert (response["usage"]["output_tokens"], response["status"]) == (7, "incomplete")
    assert response["max_output_tokens"] is None


def test_log_probabilities_are_those_of_a_chat(call: Any) -> None:
    chat = call("chat/completions", messages=USER, seed=3, max_tokens=6, logprobs=True, top_logprobs=2).json()
    response = answered(call("responses", input="Hi", seed=3, max_output_tokens=6, **LOGPROBS))
    logprobs = response["output"][0]["content"][0]["logprobs"]
    assert logprobs == chat["choices"][0]["logprobs"]["content"]
    assert response["top_logprobs"] == 2
    assert all(math.isfinite(entry["logprob"]) for entry in logprobs)
