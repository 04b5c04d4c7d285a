"""Invalid fields of `POST /generate`: each is named, with its reason."""

from typing import Any

import pytest

from inference.api.serializers import MAX_SEED
from inference.engine.engine import Engine
from tests.problems import problem

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
    prompt = "w " * engine.context_length
    document = problem(generate({"prompt": prompt, "max_new_tokens": 7}), 422)
    assert document["code"] == "prompt_too_long"
    assert [error["field"] for error in document["errors"]] == ["prompt"]
    for count in (len(prompt), 7, engine.context_length):
        assert str(count) in document["detail"]
