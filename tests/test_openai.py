"""OpenAI's API, by the requests and answers themselves."""

import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import APIKey, DailyUsage
from inference import runtime
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from tests.models import CONTEXT_LENGTH, END_OF_TEXT, byte_tokenizer, tiny_engine

pytestmark = pytest.mark.django_db

TEMPLATE = (
    "{% for message in messages %}<{{ message.role }}>{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PROMPT = "Once"
IMAGE = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
USER = [{"role": "user", "content": "Hi"}]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    engine = tiny_engine(EngineConfig(kv_cache_tokens=4096), tokenizer=tokenizer)
    runtime.install(engine)
    yield engine
    runtime.stop()


@pytest.fixture
def key() -> str:
    return services.create_key(name="tests").plaintext


@pytest.fixture
def call(client: Client, key: str, engine: Engine) -> Any:
    def post(path: str, **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": engine.model_name, **body}
        return client.post(f"/v1/{path}", json.dumps(body), content_type="application/json", headers=headers)

    return post


def refused(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    return error


def chunks(response: Any) -> list[dict[str, Any]]:
    assert response["Content-Type"] == "text/event-stream"
    lines = b"".join(response.streaming_content).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


# --- Keys and models


def test_the_key_comes_as_bearer_or_as_x_api_key(client: Client, key: str, engine: Engine) -> None:
    for headers in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}):
        listed = client.get("/v1/models", headers=headers).json()
        assert [model["id"] for model in listed["data"]] == [engine.model_name]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic abc"}])
def test_without_a_good_key_it_is_401(client: Client, engine: Engine, headers: dict[str, str]) -> None:
    response = client.get("/v1/models", headers=headers)
    assert refused(response, 401)["code"] == "invalid_api_key"
    assert response["WWW-Authenticate"] == "Bearer"


def test_one_model_by_its_name(client: Client, key: str, engine: Engine) -> None:
    headers = {"X-API-Key": key}
    assert client.get(f"/v1/models/{engine.model_name}", headers=headers).json()["object"] == "model"
    error = refused(client.get("/v1/models/gpt-4o", headers=headers), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


def test_another_model_is_not_found(call: Any) -> None:
    error = refused(call("completions", prompt=PROMPT, model="gpt-4o"), 404)
    assert (error["param"], error["code"]) == ("model", "model_not_found")


# --- Completions


def test_a_completion_is_the_text_of_generate(call: Any, client: Client, key: str) -> None:
    answer = call("completions", prompt=PROMPT, temperature=0, max_tokens=8).json()
    body = {"prompt": PROMPT, "do_sample": False, "max_new_tokens": 8}
    expected = client.post("/generate", body, "application/json", headers={"X-API-Key": key}).json()
    assert answer["object"] == "text_completion"
    text, reason = expected["completion"], expected["finish_reason"]
    assert answer["choices"] == [{"index": 0, "text": text, "logprobs": None, "finish_reason": reason}]
    assert answer["usage"] == expected["usage"]


def test_sixteen_tokens_where_max_tokens_is_absent(call: Any) -> None:
    assert call("completions", prompt=PROMPT).json()["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [("ab", 1), (["ab", "cd"], 2), ([65, 66], 1), ([[65, 66], [67], [68]], 3)],
)
def test_prompts_of_every_kind_get_n_choices_each(call: Any, prompt: Any, texts: int) -> None:
    answer = call("completions", prompt=prompt, n=2, max_tokens=3).json()
    assert [choice["index"] for choice in answer["choices"]] == list(range(2 * texts))
    assert answer["usage"]["completion_tokens"] == 2 * texts * 3
    assert answer["usage"]["prompt_tokens"] == sum(len(one) for one in prompt) if texts > 1 else 2


def test_choices_are_seeded_one_after_another_and_each_prompt_counts_once(call: Any) -> None:
    together = call("completions", prompt=PROMPT, n=3, seed=5, max_tokens=12).json()
    alone = [
        call("completions", prompt=PROMPT, seed=5 + i, max_tokens=12).json()["choices"][0]["text"]
        for i in range(3)
    ]
    assert [choice["text"] for choice in together["choices"]] == alone
    assert together["usage"]["prompt_tokens"] == len(PROMPT)
    used = DailyUsage.objects.get()
    assert (used.prompt_tokens, used.completion_tokens, used.finished) == (4 * len(PROMPT), 72, 4)


def test_choices_of_a_negative_seed_differ(call: Any) -> None:
    answer = call("completions", prompt=PROMPT, n=3, seed=-1, max_tokens=12).json()
    assert len({choice["text"] for choice in answer["choices"]}) == 3


def test_echo_is_the_prompt_as_it_was_sent(call: Any) -> None:
    prompt = f"a{END_OF_TEXT}b"
    [choice] = call("completions", prompt=prompt, echo=True, max_tokens=1).json()["choices"]
    assert choice["text"].startswith(prompt)


def test_a_top_p_of_zero_takes_the_most_likely_token(call: Any) -> None:
    texts = [
        call("completions", prompt=PROMPT, max_tokens=8, **how).json()["choices"][0]["text"]
        for how in ({"top_p": 0, "seed": 1}, {"temperature": 0})
    ]
    assert texts[0] == texts[1]


def test_a_stream_is_the_unstreamed_answer(call: Any) -> None:
    body = {"prompt": PROMPT, "n": 2, "seed": 3, "logprobs": 2, "echo": True, "max_tokens": 12}
    whole = call("completions", **body).json()
    streamed = chunks(call("completions", **body, stream=True, stream_options={"include_usage": True}))
    assert {chunk["id"] for chunk in streamed} == {streamed[0]["id"]}
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        parts = [part for chunk in streamed for part in chunk["choices"] if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in parts) == choice["text"]
        assert [part["finish_reason"] for part in parts if part["finish_reason"]] == [choice["finish_reason"]]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert [x for part in parts if part["logprobs"] for x in part["logprobs"][name]] == choice[
                "logprobs"
            ][name]


def test_the_log_probabilities_of_a_prompt_as_lm_eval_asks_for_them(call: Any) -> None:
    [choice] = call(
        "completions", prompt=[65, 66, 67], echo=True, max_tokens=0, logprobs=1, temperature=0
    ).json()["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == byte_tokenizer().decode([65, 66, 67])
    assert logprobs["tokens"] == [byte_tokenizer().decode([i]) for i in (65, 66, 67)]
    assert logprobs["token_logprobs"][0] is None
    assert logprobs["top_logprobs"][0] is None
    for token, logprob, top in list(
        zip(*(logprobs[n] for n in ("tokens", "token_logprobs", "top_logprobs")), strict=True)
    )[1:]:
        assert logprob < 0
        assert top[token] == logprob
        assert max(top.values()) >= logprob
    assert logprobs["text_offset"] == [0, 1, 2]


# --- Chat


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


def test_a_last_message_of_the_assistant_is_continued(call: Any) -> None:
    messages = [*USER, {"role": "assistant", "content": "Well"}]
    answer = call("chat/completions", messages=messages, temperature=0, max_tokens=8).json()
    text = call("completions", prompt="<user>Hi\n<assistant>Well", temperature=0, max_tokens=8).json()
    assert answer["choices"][0]["message"]["content"] == text["choices"][0]["text"]
    assert answer["usage"] == text["usage"]


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": f"a{END_OF_TEXT}b"},
        {"role": "system", "content": [{"type": "text", "text": END_OF_TEXT}]},
        {"role": "user", "content": "a", "name": END_OF_TEXT},
    ],
)
def test_what_a_user_writes_is_never_a_control_token(call: Any, engine: Engine, message: Any) -> None:
    answer = call("chat/completions", messages=[message], max_tokens=1).json()
    content = message["content"] if isinstance(message["content"], str) else END_OF_TEXT
    assert answer["usage"]["prompt_tokens"] == len(f"<{message['role']}>{content}\n<assistant>")


def test_the_fingerprint_is_that_of_the_backend(call: Any, engine: Engine) -> None:
    answer = call("chat/completions", messages=USER, max_tokens=1).json()
    assert answer["system_fingerprint"] == engine.fingerprint


def test_a_chat_goes_up_to_the_rest_of_the_context_or_the_setting(call: Any, settings: Any) -> None:
    usage = call("chat/completions", messages=USER).json()["usage"]
    assert usage["total_tokens"] == CONTEXT_LENGTH
    settings.LLM_MAX_NEW_TOKENS = 7
    answer = call("chat/completions", messages=USER).json()
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["choices"][0]["finish_reason"] == "length"


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


# --- What is refused


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
        ("completions", {"prompt": "a", "colour": 1}, "colour"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": "a"}, "messages"),
        ("chat/completions", {"messages": [{"role": "robot", "content": "a"}]}, "messages[0].role"),
        ("chat/completions", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("chat/completions", {"messages": [{"role": "user", "content": IMAGE}]}, "messages[0].content[0]"),
        ("chat/completions", {"messages": USER, "tools": []}, "tools"),
        ("chat/completions", {"messages": USER, "top_logprobs": 1}, "top_logprobs"),
        ("chat/completions", {"messages": USER, "max_tokens": 0}, "max_tokens"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_supported_is_a_400_that_names_it(
    call: Any, path: str, body: Any, param: str
) -> None:
    error = refused(call(path, **body), 400)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_refused_requests_are_counted_in_the_usage_of_the_key(call: Any) -> None:
    refused(call("completions", prompt=""), 400)
    refused(call("chat/completions", messages=[]), 400)
    APIKey.objects.update(disabled_at=timezone.now())
    refused(call("completions", prompt=PROMPT), 401)
    used = DailyUsage.objects.get()
    assert (used.invalid, used.forbidden, used.prompt_tokens) == (2, 1, 0)


def test_null_is_the_same_as_absence(call: Any) -> None:
    absent = call("completions", prompt=PROMPT, seed=1, max_tokens=4).json()["choices"]
    nulls = dict.fromkeys(
        ["n", "stop", "logprobs", "echo", "user", "suffix", "top_k", "stream", "logit_bias"]
    )
    assert call("completions", prompt=PROMPT, seed=1, max_tokens=4, **nulls).json()["choices"] == absent


def test_a_text_that_does_not_fit_the_context(call: Any) -> None:
    error = refused(call("completions", prompt="x" * CONTEXT_LENGTH, max_tokens=1), 400)
    assert error["code"] == "context_length_exceeded"


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
