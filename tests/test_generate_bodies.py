"""Bodies of `POST /generate` that are no JSON, or any JSON at all."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inference.api.serializers import GenerateRequestSerializer
from llmservice.http.problems import FieldError, invalid
from tests.examples import examples
from tests.problems import problem

LONGEST_ANSWER = 8192


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("{", "line 1, column 2"),
        ("prompt=a", "not JSON"),
        (b'{"prompt": "\xff"}', "UTF-8"),
        ('{"prompt": "a", "temperature": NaN}', "NaN"),
        ('{"prompt": "a", "temperature": -Infinity}', "Infinity"),
        ('{"prompt": "a", "prompt": "b"}', "more than once"),
    ],
    ids=range(6),
)
def test_a_body_that_is_no_json_is_400(generate: Any, body: str | bytes, reason: str) -> None:
    assert reason in problem(generate(body), 400)["detail"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"prompt": "a", "seed": 1' + "0" * 5000 + "}", "number"),
        ("[" * 9_000, "deep"),
        ('{"prompt": ' * 4_000, "deep"),
        (f"[{'[],' * 50_000}[]]", "more than 40000 lists, objects and names"),
        (
            '{"prompt": "' + '\\"' * 10 + '", "stop": [' + "{}," * 50_000 + "{}]}",
            "more than 40000 lists, objects and names",
        ),
    ],
    ids=range(5),
)
def test_json_beyond_what_is_read_is_413(generate: Any, body: str, reason: str) -> None:
    document = problem(generate(body), 413)
    assert document["code"] == "body_too_complex"
    assert reason in document["detail"]


def test_brackets_within_a_string_are_text(generate: Any) -> None:
    body = {"prompt": 'a "[{:' * 20_000, "temperature": 9}
    assert problem(generate(body), 422)["detail"] == "temperature: Must be at most 2.0."


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
# Repeated: the answer must not grow with the body.
long_values = st.builds(
    lambda value, times: value * times,
    st.text(min_size=1, max_size=5) | st.lists(st.none(), min_size=1, max_size=2),
    st.integers(1, 300),
)
many_names = st.builds(
    lambda name, count: {f"{name}{i}": i for i in range(count)},
    st.text(max_size=20),
    st.integers(1, 40),
)
bodies = (
    json_values | many_names | st.dictionaries(st.sampled_from(NAMES), json_values | long_values, max_size=5)
)


@settings(
    max_examples=examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=bodies | bodies.map(lambda body: {"prompt": "a", "max_new_tokens": 1, "extra": body}))
@example(body={"prompt": "\udfff"})
@example(body={"\ud800": 1})
@example(body={"prompt": "a", "max_new_tokens": 1, "stop": ["\ud800"]})
def test_no_json_makes_the_service_fail(generate: Any, body: Any) -> None:
    response = generate(json.dumps(body))
    if response.status_code != 200:
        problem(response, 422)
        assert len(response.content) <= LONGEST_ANSWER


@settings(
    max_examples=examples(100), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=200) | st.text(alphabet='{}[]",:truefalsn0123456789.eE-\\ ').map(str.encode))
def test_no_bytes_make_the_service_fail(generate: Any, body: bytes) -> None:
    response = generate(body)
    if response.status_code != 200:
        problem(response, response.status_code)
        assert response.status_code in {400, 422}
        assert len(response.content) <= LONGEST_ANSWER


# --- How long the answer to a wrong body is

MEGABYTE = 1_000_000
LONG_BODIES: dict[str, Any] = {
    "a list of wrong stop strings": {"prompt": "a", "stop": [1] * 300_000},
    "a list of long stop strings": {"prompt": "a", "stop": ["x" * 1000] * 900},
    "unknown fields of any script": {"\U0001f600" * 70 + f"{i}": i for i in range(1000)},
    "unknown fields of control characters": {"\x00\x1b" * 40 + f"{i}": i for i in range(1000)},
    "unknown fields of surrogates": {"\ud800" * 70 + f"{i}": i for i in range(1000)},
    "every field wrong, and many unknown": {
        **{name: {} for name in GenerateRequestSerializer().fields},
        **{"\U0001f600" * 70 + f"{i}": i for i in range(500)},
    },
    "a prompt of every surrogate": {"prompt": "".join(map(chr, range(0xD800, 0xE000))) * 50},
    "a prompt of null characters": {"prompt": "\0" * 100_000},
    "a long prompt": {"prompt": "word " * 200_000},
    "a long number": '{"prompt": "a", "seed": ' + "9" * MEGABYTE + "}",
    "a long fraction": '{"prompt": "a", "temperature": 9.' + "9" * MEGABYTE + "}",
    "a list for an object": [[]] * 200_000,
    "a name twice": '{"' + "\U0001f600" * 100_000 + '": 1, "' + "\U0001f600" * 100_000 + '": 2}',
    "deep lists": "[" * MEGABYTE,
    "deep objects": '{"a":' * 200_000,
    "not a number": '{"prompt": ' + "NaN," * 200_000,
    "one long word": "x" * MEGABYTE,
}


@pytest.mark.parametrize("body", LONG_BODIES.values(), ids=LONG_BODIES.keys())
def test_the_answer_to_a_long_wrong_body_is_short(generate: Any, body: Any) -> None:
    response = generate(body)
    assert response.status_code in {400, 413, 422}
    document = problem(response, response.status_code)
    assert len(response.content) <= LONGEST_ANSWER
    assert all(error["detail"] for error in document.get("errors", []))


def test_the_length_of_a_list_is_checked_before_its_items(generate: Any) -> None:
    document = problem(generate({"prompt": "a", "stop": [1] * 5}), 422)
    assert document["errors"] == [{"field": "stop", "detail": "Must have at most 4 items."}]


def test_errors_beyond_those_that_are_named_are_counted() -> None:
    document = json.loads(invalid([FieldError(f"field{i}", "Wrong.") for i in range(50)]).response().content)
    assert document["errors"][0] == {"field": "field0", "detail": "Wrong."}
    assert document["errors"][-1] == {"field": "", "detail": "And 33 more errors."}
    assert document["detail"].endswith("field16: Wrong. And 33 more errors.")
