"""`POST /generate` with a real, tiny model: what is answered, and in which order it is refused."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from transformers import PreTrainedTokenizerFast

from inference import runtime
from inference.api.serializers import MAX_SEED
from inference.engine.engine import Engine
from inference.engine.errors import Unavailable
from tests.models import END_OF_TEXT, byte_tokenizer, tiny_engine
from tests.problems import problem

PROMPT = "Once upon a time"

# --- What is answered


def test_the_answer_holds_the_text_and_how_it_was_made(generate: Any, engine: Engine) -> None:
    response = generate({"prompt": PROMPT, "max_new_tokens": 8})
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    answer = response.json()
    assert set(answer) == {"generated_text", "completion", "finish_reason", "seed", "model", "usage"}
    assert answer["generated_text"] == PROMPT + answer["completion"]
    assert answer["finish_reason"] in {"length", "stop"}
    assert 0 <= answer["seed"] <= MAX_SEED
    assert answer["model"] == engine.model_name
    usage = answer["usage"]
    assert usage["prompt_tokens"] == len(PROMPT)
    assert 1 <= usage["completion_tokens"] <= 8
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_the_seed_that_is_told_gives_the_same_text_again(generate: Any) -> None:
    first = generate({"prompt": PROMPT, "max_new_tokens": 12, "temperature": 2.0}).json()
    again = generate(
        {"prompt": PROMPT, "max_new_tokens": 12, "temperature": 2.0, "seed": first["seed"]}
    ).json()
    assert again == first


def test_another_seed_gives_another_text(generate: Any) -> None:
    body = {"prompt": PROMPT, "max_new_tokens": 20, "temperature": 2.0, "top_k": 0}
    texts = {generate({**body, "seed": seed}).json()["generated_text"] for seed in range(4)}
    assert len(texts) > 1


def test_without_a_seed_each_request_gets_its_own(generate: Any) -> None:
    seeds = {generate({"prompt": PROMPT, "max_new_tokens": 1, "seed": None}).json()["seed"] for _ in range(4)}
    assert len(seeds) == 4


def test_greedy_text_is_the_same_for_every_seed(generate: Any) -> None:
    body = {"prompt": PROMPT, "max_new_tokens": 12, "do_sample": False}
    texts = {generate({**body, "seed": seed}).json()["generated_text"] for seed in range(3)}
    assert len(texts) == 1


def test_a_stop_string_ends_the_text_before_it(generate: Any) -> None:
    body = {"prompt": PROMPT, "max_new_tokens": 20, "do_sample": False}
    written = generate(body).json()["generated_text"].removeprefix(PROMPT)
    stop = written[len(written) // 2 :][:3]
    answer = generate({**body, "stop": [stop]}).json()
    assert answer["finish_reason"] == "stop"
    assert answer["generated_text"] == PROMPT + written[: written.index(stop)]


def test_white_space_of_the_prompt_is_kept(generate: Any) -> None:
    prompt = "  two spaces,\ta tab and a line\n"
    answer = generate({"prompt": prompt, "max_new_tokens": 1}).json()
    assert answer["generated_text"].startswith(prompt)


@pytest.mark.parametrize(
    "body",
    [
        {"max_new_tokens": 1},
        {"max_new_tokens": 2.0},
        {"temperature": 0.1},
        {"temperature": 2},
        {"top_k": 0},
        {"top_p": 1e-9},
        {"top_p": 1},
        {"repetition_penalty": 1.3},
        {"seed": 0},
        {"seed": MAX_SEED},
        {"stop": []},
        {"stop": ["a", "b", "c", "\n"]},
    ],
)
def test_the_bounds_themselves_are_allowed(generate: Any, body: dict[str, Any]) -> None:
    assert generate({"prompt": PROMPT, "max_new_tokens": 2, **body}).status_code == 200


def test_the_answer_is_json_whatever_the_client_would_rather_have(generate: Any) -> None:
    response = generate({"prompt": PROMPT, "max_new_tokens": 1}, accept="text/html")
    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "application/json;charset=latin-1"]
)
def test_json_is_utf8_whatever_the_charset_says(generate: Any, content_type: str) -> None:
    body = json.dumps({"prompt": "Grüße", "max_new_tokens": 1}, ensure_ascii=False).encode()
    response = generate(body, content_type=content_type)
    assert response.status_code == 200
    assert response.json()["generated_text"].startswith("Grüße")


@pytest.fixture
def with_tokenizer() -> Iterator[Callable[[PreTrainedTokenizerFast], Engine]]:
    """Serves the tiny model with another tokenizer."""
    engines: list[Engine] = []

    def serve(tokenizer: PreTrainedTokenizerFast) -> Engine:
        engines.append(tiny_engine(tokenizer=tokenizer))
        runtime.install(engines[-1])
        return engines[-1]

    before = runtime.backend()
    yield serve
    runtime.install(before)
    for engine in engines:
        engine.stop()


def test_special_tokens_of_the_prompt_are_in_the_answer_as_they_were_sent(generate: Any) -> None:
    prompt = f"{END_OF_TEXT}Hello{END_OF_TEXT}"
    answer = generate({"prompt": prompt, "max_new_tokens": 4}).json()
    assert answer["usage"]["prompt_tokens"] == 7
    assert answer["generated_text"] == prompt + answer["completion"]


def test_a_stop_string_that_is_a_special_token_ends_the_text(
    generate: Any, with_tokenizer: Callable[[PreTrainedTokenizerFast], Engine]
) -> None:
    body = {"prompt": PROMPT, "max_new_tokens": 20, "do_sample": False}
    letters = [letter for letter in generate(body).json()["completion"] if letter.isascii()]
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"extra_special_tokens": [letters[2]]})
    with_tokenizer(tokenizer)
    assert letters[2] not in (whole := generate(body).json())["completion"]
    answer = generate({**body, "stop": [letters[2]]}).json()
    assert answer["finish_reason"] == "stop"
    assert whole["completion"].startswith(answer["completion"])
    assert answer["usage"]["completion_tokens"] < 20


def test_a_token_that_the_model_has_no_embedding_for_is_refused(
    generate: Any, with_tokenizer: Callable[[PreTrainedTokenizerFast], Engine]
) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(["<extra>"])
    with_tokenizer(tokenizer)
    document = problem(generate({"prompt": "Hello <extra>"}), 422)
    assert [error["field"] for error in document["errors"]] == ["prompt"]
    assert "contains <extra>, a token for which this model has no embedding" in document["detail"]


# --- Who may ask, and in which order things are said


def test_other_methods_are_405_with_and_without_a_key(client: Client, key: str) -> None:
    for headers in ({}, {"X-API-Key": key}):
        for method in ("get", "put", "patch", "delete"):
            response = getattr(client, method)("/generate", headers=headers)
            assert "not allowed" in problem(response, 405)["detail"]
            assert "POST" in response["Allow"]
    assert client.head("/generate").status_code == 405


def test_a_slash_at_the_end_is_404_and_told(generate: Any, client: Client) -> None:
    assert "/generate," in problem(client.post("/generate/"), 404)["detail"]


def test_the_key_is_asked_for_before_the_body_is_read(client: Client, db: None) -> None:
    response = client.post("/generate", "{", content_type="application/json")
    assert "X-API-Key" in problem(response, 403)["detail"]
    response = client.post(
        "/generate", "{", content_type="application/json", headers={"X-API-Key": "nonsense"}
    )
    problem(response, 403)


def test_while_the_model_loads_the_answer_is_503_with_a_time_to_come_back(
    client: Client, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loading() -> Engine:
        raise Unavailable("The model is loading.")

    monkeypatch.setattr(runtime, "backend", loading)
    response = client.post(
        "/generate", {"prompt": "a"}, content_type="application/json", headers={"X-API-Key": key}
    )
    assert problem(response, 503)["detail"] == "The model is loading."
    assert int(response["Retry-After"]) > 0
