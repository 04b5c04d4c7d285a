"""`POST /generate` with a real, tiny model: what is answered, what is refused and in which words."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from accounts import services
from inference import runtime
from inference.api.serializers import MAX_SEED
from inference.engine.engine import Engine
from inference.engine.errors import Unavailable
from tests.models import END_OF_TEXT, byte_tokenizer, tiny_engine
from tests.problems import problem

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine()
    runtime.install(engine)
    yield engine
    runtime.stop()


@pytest.fixture
def key(db: None) -> str:
    return services.create_key(name="tests").plaintext


@pytest.fixture
def generate(client: Client, key: str, engine: Engine) -> Any:
    """Posts a body, as JSON unless it is text already, with a good key and any other headers."""

    def post(body: Any, **headers: str) -> Any:
        return client.post(
            "/generate",
            body if isinstance(body, str | bytes) else json.dumps(body),
            content_type=headers.pop("content_type", "application/json"),
            headers={"X-API-Key": key, **headers},
        )

    return post


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


# --- What is refused: fields

INVALID_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "required"),
    ({"prompt": ""}, "prompt", "empty"),
    ({"prompt": None}, "prompt", "null"),
    ({"prompt": 5}, "prompt", "string"),
    ({"prompt": ["a"]}, "prompt", "string"),
    ({"prompt": "a\0b"}, "prompt", "Null"),
    ({"prompt": "\ud800"}, "prompt", "Surrogate"),
    ({"prompt": "a", "max_new_tokens": 0}, "max_new_tokens", "at least 1"),
    ({"prompt": "a", "max_new_tokens": 201}, "max_new_tokens", "at most 200"),
    ({"prompt": "a", "max_new_tokens": 1.5}, "max_new_tokens", "whole number"),
    ({"prompt": "a", "max_new_tokens": "5"}, "max_new_tokens", "whole number"),
    ({"prompt": "a", "max_new_tokens": True}, "max_new_tokens", "whole number"),
    ({"prompt": "a", "max_new_tokens": None}, "max_new_tokens", "null"),
    ({"prompt": "a", "max_new_tokens": 10**4000}, "max_new_tokens", "at most 200"),
    ({"prompt": "a", "temperature": 0.09}, "temperature", "at least 0.1"),
    ({"prompt": "a", "temperature": 2.01}, "temperature", "at most 2.0"),
    ({"prompt": "a", "temperature": "0.7"}, "temperature", "number"),
    ({"prompt": "a", "temperature": False}, "temperature", "number"),
    ({"prompt": "a", "temperature": -(10**400)}, "temperature", "at least 0.1"),
    ({"prompt": "a", "do_sample": "true"}, "do_sample", "true or false"),
    ({"prompt": "a", "do_sample": 1}, "do_sample", "true or false"),
    ({"prompt": "a", "top_k": -1}, "top_k", "at least 0"),
    ({"prompt": "a", "top_p": 0}, "top_p", "above 0"),
    ({"prompt": "a", "top_p": 1.1}, "top_p", "at most 1"),
    ({"prompt": "a", "repetition_penalty": 0}, "repetition_penalty", "at least 0.1"),
    ({"prompt": "a", "seed": -1}, "seed", "at least 0"),
    ({"prompt": "a", "seed": MAX_SEED + 1}, "seed", f"at most {MAX_SEED}"),
    ({"prompt": "a", "stop": "\n"}, "stop", "list"),
    ({"prompt": "a", "stop": ["a"] * 5}, "stop", "at most 4"),
    ({"prompt": "a", "stop": ["a", ""]}, "stop[1]", "empty"),
    ({"prompt": "a", "stop": [1]}, "stop[0]", "string"),
    ({"prompt": "a", "stop": ["a" * 65]}, "stop[0]", "at most 64"),
    ({"prompt": "a", "max_tokens": 5}, "max_tokens", "did you mean max_new_tokens?"),
    ({"prompt": "a", "temprature": 1}, "temprature", "did you mean temperature?"),
    ({"inputs": "a"}, "inputs", "did you mean prompt?"),
    ({"prompt": "a", "xyz": {}}, "xyz", "Unknown field."),
]


@pytest.mark.parametrize(("body", "field", "reason"), INVALID_FIELDS)
def test_an_invalid_field_is_named_with_its_reason(
    generate: Any, body: dict[str, Any], field: str, reason: str
) -> None:
    document = problem(generate(body), 422)
    reasons = {error["field"]: error["detail"] for error in document["errors"]}
    assert reason in reasons[field]
    assert f"{field}: {reasons[field]}" in document["detail"]


def test_all_invalid_fields_are_named_at_once(generate: Any) -> None:
    document = problem(generate({"prompt": "", "temperature": 9, "max_tokens": 5}), 422)
    assert {error["field"] for error in document["errors"]} == {"prompt", "temperature", "max_tokens"}


def test_a_body_of_many_unknown_fields_is_answered_in_few_words(generate: Any) -> None:
    body = {"prompt": "a", **{f"field{i}" + "x" * 100: i for i in range(3000)}}
    response = generate(body)
    assert "2992 more fields are unknown." in problem(response, 422)["detail"]
    assert len(response.content) < 5000


@pytest.mark.parametrize(
    ("body", "kind"),
    [("[1]", "a list"), ('"a"', "text"), ("5", "a number"), ("true", "true"), ("null", "null")],
)
def test_a_body_that_is_no_object_is_refused_by_what_it_is(generate: Any, body: str, kind: str) -> None:
    document = problem(generate(body), 422)
    assert "JSON object" in document["detail"]
    assert kind in document["detail"]


def test_a_prompt_that_does_not_fit_is_refused_with_the_counts(generate: Any, engine: Engine) -> None:
    prompt = "word " * engine.context_length
    document = problem(generate({"prompt": prompt, "max_new_tokens": 7}), 422)
    assert [error["field"] for error in document["errors"]] == ["prompt"]
    for count in (len(prompt), 7, engine.context_length):
        assert str(count) in document["detail"]


# --- What is refused: bodies


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "line 1, column 2"),
        ("prompt=a", "not JSON"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        ('{"prompt": "a", "temperature": NaN}', "NaN"),
        ('{"prompt": "a", "temperature": -Infinity}', "Infinity"),
        ('{"prompt": "a", "prompt": "b"}', "more than once"),
        ('{"prompt": "a", "seed": 1' + "0" * 5000 + "}", "number"),
        ("[" * 100_000, "deep"),
        ('{"prompt": ' * 50_000, "deep"),
    ],
    ids=range(9),
)
def test_a_body_that_is_no_json_is_400(generate: Any, body: str | bytes, reason: str) -> None:
    assert reason in problem(generate(body), 400)["detail"]


def test_no_body_at_all_is_an_empty_object(generate: Any) -> None:
    assert problem(generate(""), 422)["detail"] == "prompt: This field is required."


def test_a_number_beyond_all_floats_is_out_of_bounds(generate: Any) -> None:
    for field in ("max_new_tokens", "temperature", "seed"):
        document = problem(generate(f'{{"prompt": "a", "{field}": 1e400}}'), 422)
        assert [error["field"] for error in document["errors"]] == [field]


def test_a_byte_order_mark_is_skipped(generate: Any) -> None:
    assert generate(b'\xef\xbb\xbf{"prompt": "a", "max_new_tokens": 1}').status_code == 200


@pytest.mark.parametrize(
    ("content_type", "named"),
    [
        ("text/plain", "text/plain"),
        ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded"),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
        ("", "no Content-Type"),
        ("nonsense", "nonsense"),
    ],
)
def test_a_body_that_is_not_declared_as_json_is_415(generate: Any, content_type: str, named: str) -> None:
    detail = problem(generate('{"prompt": "a"}', content_type=content_type), 415)["detail"]
    assert "application/json" in detail
    assert named in detail


def test_a_body_beyond_the_limit_is_413(generate: Any, settings: Any) -> None:
    settings.MAX_BODY_BYTES = 1000
    document = problem(generate({"prompt": "a" * 1000}), 413)
    assert "1000 bytes" in document["detail"]


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


# --- Anything at all

NAMES = [
    "prompt",
    "max_new_tokens",
    "temperature",
    "do_sample",
    "top_k",
    "top_p",
    "seed",
    "stop",
    "max_tokens",
]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=5) | st.dictionaries(st.text(), children, max_size=5),
    max_leaves=10,
)
bodies = json_values | st.dictionaries(st.sampled_from(NAMES), json_values, max_size=5)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies | bodies.map(lambda body: {"prompt": "a", "max_new_tokens": 1, "extra": body}))
@example(body={"prompt": "\udfff"})
@example(body={"\ud800": 1})
@example(body={"prompt": "a", "max_new_tokens": 1, "stop": ["\ud800"]})
def test_no_json_makes_the_service_fail(generate: Any, body: Any) -> None:
    response = generate(json.dumps(body))
    if response.status_code != 200:
        problem(response, 422)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=200) | st.text(alphabet='{}[]",:truefalsn0123456789.eE-\\ ').map(str.encode))
def test_no_bytes_make_the_service_fail(generate: Any, body: bytes) -> None:
    response = generate(body)
    if response.status_code != 200:
        assert response.status_code in {400, 422}
