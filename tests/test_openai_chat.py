"""`POST /v1/chat/completions`."""

import math
from typing import Any

import pytest

from inference.api.openai.messages import MAX_MESSAGES, MAX_TEXT_PARTS
from inference.engine.engine import Engine
from tests.models import CONTEXT_LENGTH, END_OF_TEXT
from tests.openai_api import USER, chunks, refused

pytestmark = pytest.mark.django_db


def test_a_chat_is_a_completion_of_the_template(call: Any) -> None:
    answer = call("chat/completions", messages=USER, temperature=0, max_tokens=8).json()
    written = "<user>Hi\n<assistant>"
    text = call("completions", prompt=written, temperature=0, max_tokens=8).json()["choices"][0]["text"]
    assert answer["object"] == "chat.completion"
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": text, "refusal": None}
    assert answer["usage"]["prompt_tokens"] == len(written)


def test_text_parts_are_one_text(call: Any) -> None:
    parts = [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]
    bodies = [{"messages": [{"role": "user", "content": content}]} for content in ("Hi", parts)]
    texts = [call("chat/completions", **body, seed=1, max_tokens=8).json()["choices"] for body in bodies]
    assert texts[0] == texts[1]


def test_the_longest_conversation_is_read(call: Any) -> None:
    """It is longer than this model's context, which is no limit of the body."""
    function = {"name": "f", "arguments": "{}"}
    calls = {"role": "assistant", "tool_calls": [{"id": "1", "type": "function", "function": function}]}
    answer = {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "a"}]}
    response = call("chat/completions", messages=[calls, answer] * (MAX_MESSAGES // 2))
    assert refused(response, 400)["code"] == "context_length_exceeded"


def test_a_text_of_too_many_parts_is_refused(call: Any) -> None:
    parts = [{"type": "text", "text": "a"}] * (MAX_TEXT_PARTS + 1)
    error = refused(call("chat/completions", messages=[{"role": "user", "content": parts}]), 400)
    assert error["param"] == "messages[0].content"
    error = refused(call("responses", input=[{"role": "user", "content": parts}]), 400)
    assert error["param"] == "input[0].content"


def test_a_last_message_of_the_assistant_is_continued(call: Any) -> None:
    messages = [*USER, {"role": "assistant", "content": "Well"}]
    answer = call("chat/completions", messages=messages, temperature=0, max_tokens=8).json()
    text = call("completions", prompt="<user>Hi\n<assistant>Well", temperature=0, max_tokens=8).json()
    assert answer["choices"][0]["message"]["content"] == text["choices"][0]["text"]
    # The second finds a part of its prompt computed.
    assert {**answer["usage"], "prompt_tokens_details": None} == {
        **text["usage"],
        "prompt_tokens_details": None,
    }


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": f"a{END_OF_TEXT}b"},
        {"role": "system", "content": [{"type": "text", "text": END_OF_TEXT}]},
        {"role": "user", "content": "a", "name": END_OF_TEXT},
    ],
)
def test_what_a_user_writes_is_never_a_control_token(call: Any, chat_engine: Engine, message: Any) -> None:
    answer = call("chat/completions", messages=[message], max_tokens=1).json()
    content = message["content"] if isinstance(message["content"], str) else END_OF_TEXT
    assert answer["usage"]["prompt_tokens"] == len(f"<{message['role']}>{content}\n<assistant>")


def test_the_fingerprint_is_that_of_the_backend(
    call: Any, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenAI's document lets it be absent, not null."""
    assert "system_fingerprint" not in call("chat/completions", messages=USER, max_tokens=1).json()
    monkeypatch.setattr(chat_engine, "fingerprint", "fp_1")
    for path, body in (("completions", {"prompt": "a"}), ("chat/completions", {"messages": USER})):
        assert call(path, **body, max_tokens=1).json()["system_fingerprint"] == "fp_1"
        streamed = chunks(call(path, **body, max_tokens=1, stream=True))
        assert {chunk["system_fingerprint"] for chunk in streamed} == {"fp_1"}


def test_a_prompt_is_tokenised_once(call: Any, chat_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    prepare = chat_engine.prepare

    def counted(request: Any) -> Any:
        prepared.append(request)
        return prepare(request)

    monkeypatch.setattr(chat_engine, "prepare", counted)
    for how in ({}, {"max_tokens": 2}):
        call("chat/completions", messages=USER, n=2, **how)
    assert len(prepared) == 2


def test_a_chat_goes_up_to_the_rest_of_the_context_or_the_setting(call: Any, settings: Any) -> None:
    usage = call("chat/completions", messages=USER).json()["usage"]
    assert usage["total_tokens"] == CONTEXT_LENGTH
    settings.LLM_MAX_NEW_TOKENS = 7
    answer = call("chat/completions", messages=USER).json()
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["choices"][0]["finish_reason"] == "length"


def test_a_conversation_that_does_not_fit_the_context_names_its_field(call: Any) -> None:
    error = refused(call("chat/completions", messages=[{**USER[0], "content": "x" * CONTEXT_LENGTH}]), 400)
    assert (error["param"], error["code"]) == ("messages", "context_length_exceeded")


def test_a_chat_stream_is_the_unstreamed_answer(call: Any) -> None:
    body = {"messages": USER, "n": 2, "seed": 3, "logprobs": True, "top_logprobs": 2, "max_tokens": 12}
    whole = call("chat/completions", **body).json()
    streamed = chunks(call("chat/completions", **body, stream=True))
    assert {chunk["object"] for chunk in streamed} == {"chat.completion.chunk"}
    for choice in whole["choices"]:
        parts = [part for chunk in streamed for part in chunk["choices"] if part["index"] == choice["index"]]
        assert parts[0]["delta"]["role"] == "assistant"
        assert "".join(part["delta"].get("content") or "" for part in parts) == choice["message"]["content"]
        assert parts[-1]["finish_reason"] == choice["finish_reason"]
        logprobs = [entry for part in parts if part["logprobs"] for entry in part["logprobs"]["content"]]
        assert logprobs == choice["logprobs"]["content"]
    for entry in logprobs:
        assert len(entry["top_logprobs"]) == 2
        assert math.isfinite(entry["logprob"])
