"""Bodies of `POST /generate` that are no JSON, or any JSON at all."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.problems import problem


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
