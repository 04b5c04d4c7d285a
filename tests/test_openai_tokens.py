"""`POST /tokenize` and `/detokenize`."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import APIKey, DailyUsage
from inference.api.openai.tokens import MAX_CHARACTERS, MAX_TOKENS
from inference.engine.engine import Engine
from tests.models import CONTEXT_LENGTH, END_OF_TEXT, byte_tokenizer
from tests.openai_api import PROMPT, USER, refused

pytestmark = pytest.mark.django_db
END = 256


@pytest.fixture
def post(client: Client, key: str, chat_engine: Engine) -> Callable[..., Any]:
    def send(path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        return client.post(path, json.dumps(body), content_type="application/json", headers=headers)

    return send


def ids(text: str) -> list[int]:
    token_ids: list[int] = byte_tokenizer()(text)["input_ids"]
    return token_ids


def text_of(answer: Any) -> str:
    return str(byte_tokenizer().decode(answer.json()["tokens"]))


def test_the_tokens_of_a_text(post: Any, chat_engine: Engine) -> None:
    answer = post("/tokenize", model=chat_engine.model_name, prompt=PROMPT).json()
    tokens = ids(PROMPT)
    assert answer == {
        "count": len(tokens), "max_model_len": CONTEXT_LENGTH, "tokens": tokens, "token_strs": None
    }  # fmt: skip


def test_strings_of_tokens_that_are_no_characters(post: Any) -> None:
    answer = post("/tokenize", prompt="aé", return_token_strs=True).json()
    assert answer["token_strs"] == ["a", "bytes:\\xc3", "bytes:\\xa9"]


def test_the_tokens_of_a_chat_are_those_that_a_chat_completion_counts(post: Any, call: Any) -> None:
    for messages in (USER, [*USER, {"role": "assistant", "content": "We"}]):
        usage = call("chat/completions", messages=messages, max_tokens=1).json()["usage"]
        assert post("/tokenize", messages=messages).json()["count"] == usage["prompt_tokens"]


TOOL: dict[str, Any] = {"type": "function", "function": {"name": "stop"}}
CALLED: list[dict[str, Any]] = [
    *USER,
    {"role": "assistant", "content": None, "tool_calls": [
        {"id": "1", "type": "function", "function": {"name": "stop", "arguments": '{"é": 1}'}}
    ]},
    {"role": "tool", "tool_call_id": "1", "content": "Done"},
]  # fmt: skip


def call_of(text: str) -> dict[str, Any]:
    function = {"name": "stop", "arguments": json.dumps({"a": text})}
    return {**CALLED[1], "tool_calls": [{"id": "1", "type": "function", "function": function}]}


def tool_of(description: str, number: int) -> dict[str, Any]:
    return {"type": "function", "function": {"name": f"f{number}", "description": description}}


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({}, "<user>Hi\n<assistant>We"),
        ({"add_generation_prompt": True}, "<user>Hi\n<assistant>We\n<assistant>"),
        ({"add_generation_prompt": False}, "<user>Hi\n<assistant>We\n"),
        ({"continue_final_message": False}, "<user>Hi\n<assistant>We\n<assistant>"),
        ({"continue_final_message": True}, "<user>Hi\n<assistant>We"),
    ],
)
def test_how_a_chat_ends(post: Any, how: dict[str, bool], text: str) -> None:
    messages = [*USER, {"role": "assistant", "content": "We"}]
    assert text_of(post("/tokenize", messages=messages, **how)) == text


def test_text_in_a_message_is_no_control_token(post: Any) -> None:
    assert END in post("/tokenize", prompt=END_OF_TEXT).json()["tokens"]
    assert END not in post("/tokenize", messages=[{"role": "user", "content": END_OF_TEXT}]).json()["tokens"]


@pytest.mark.parametrize("text", ["", "Once é\U0001f600", f"a{END_OF_TEXT}b"])
def test_detokenize_is_the_way_back(post: Any, text: str) -> None:
    tokens = post("/tokenize", prompt=text).json()["tokens"]
    assert post("/detokenize", tokens=tokens).json() == {"prompt": text}


def test_a_token_id_may_be_a_number_without_a_fraction(post: Any) -> None:
    tokens = [float(token) for token in ids("ab")]
    assert post("/detokenize", tokens=tokens).json() == {"prompt": "ab"}


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": USER}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "a" * (MAX_CHARACTERS + 1)}, "prompt"),
        ("/tokenize", {"messages": [{**USER[0], "content": "a" * MAX_CHARACTERS}, *USER]}, "messages"),
        ("/tokenize", {"messages": [*CALLED[:1], call_of("a" * MAX_CHARACTERS), CALLED[2]]}, "messages"),
        ("/tokenize", {"messages": USER, "tools": [tool_of("a" * 30_000, n) for n in range(9)]}, "messages"),
        ("/tokenize", {"messages": USER, "tools": [TOOL]}, "tool_choice"),
        ("/tokenize", {"messages": USER, "tool_choice": "none"}, "tool_choice"),
        ("/tokenize", {"prompt": "a", "tools": [TOOL]}, "tools"),
        ("/tokenize", {"messages": USER, "add_special_tokens": True}, "add_special_tokens"),
        ("/tokenize", {"prompt": "a", "add_generation_prompt": True}, "add_generation_prompt"),
        ("/tokenize", {"messages": USER, "continue_final_message": True}, "messages"),
        (
            "/tokenize",
            {"messages": USER, "continue_final_message": True, "add_generation_prompt": True},
            "continue_final_message",
        ),
        ("/tokenize", {"prompt": "a", "colour": 1}, "colour"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
        ("/detokenize", {"tokens": [99999]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [1] * (MAX_TOKENS + 1)}, "tokens"),
    ],
)
def test_what_is_wrong_is_a_400_that_names_it(
    post: Any, path: str, body: Any, param: str, monkeypatch: pytest.MonkeyPatch, chat_engine: Engine
) -> None:
    if len(str(body)) > MAX_CHARACTERS:
        monkeypatch.setattr(chat_engine, "encode", None)  # refused before the work
    assert refused(post(path, **body), 400)["param"] == param


def test_another_model_is_not_found(post: Any) -> None:
    for path, body in (("/tokenize", {"prompt": "a"}), ("/detokenize", {"tokens": [1]})):
        assert refused(post(path, model="gpt-4o", **body), 404)["code"] == "model_not_found"


def test_they_cost_a_request_and_no_tokens(post: Any) -> None:
    APIKey.objects.update(requests_per_minute=1, burst=2, tokens_per_day=1)
    assert post("/tokenize", prompt="many tokens").status_code == 200
    assert post("/detokenize", tokens=[1, 2, 3]).status_code == 200
    assert refused(post("/tokenize", prompt="a"), 429)["code"] == "rate_limit_exceeded"
    assert not DailyUsage.objects.exclude(prompt_tokens=0, completion_tokens=0).exists()


def test_without_a_key_it_is_401(client: Client, chat_engine: Engine) -> None:
    for path in ("/tokenize", "/detokenize"):
        assert refused(client.post(path, {}, "application/json"), 401)["code"] == "invalid_api_key"
