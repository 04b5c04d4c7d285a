"""`response_format`, `structured_outputs` and the same fields of `/generate`."""

import json
from typing import Any

import pytest

from accounts.models import APIKey, DailyUsage
from tests.openai_api import PROMPT, USER, chunks, refused
from tests.problems import problem

pytestmark = pytest.mark.django_db

SCHEMA = {"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"],
          "additionalProperties": False}  # fmt: skip
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
LOOK = {"properties": {"a": {"pattern": "(?=a)b"}}}


def test_a_chat_fits_its_schema_whole_and_streamed(call: Any) -> None:
    body = {"messages": USER, "response_format": FORMAT, "seed": 3, "max_tokens": 100}
    content = call("chat/completions", **body).json()["choices"][0]["message"]["content"]
    assert json.loads(content)["a"] in {"x", "y"}
    parts = chunks(call("chat/completions", stream=True, **body))
    assert "".join(part["choices"][0]["delta"].get("content", "") for part in parts) == content


@pytest.mark.parametrize(
    ("outputs", "fits"),
    [
        ({"json": SCHEMA}, lambda text: set(json.loads(text)) == {"a"}),
        ({"regex": "[ab]{3}"}, lambda text: set(text) <= {"a", "b"}),
        ({"choice": ["yes", "no"]}, lambda text: text in {"yes", "no"}),
        ({"grammar": 'start: "a" /[0-9]/'}, lambda text: text[0] == "a" and text[1].isdecimal()),
    ],
)
def test_a_completion_fits_its_structured_outputs(call: Any, outputs: Any, fits: Any) -> None:
    body = call("completions", prompt=PROMPT, structured_outputs=outputs, n=2, max_tokens=100).json()
    assert all(fits(choice["text"]) for choice in body["choices"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_cannot_be_enforced_is_refused_by_its_place(call: Any, stream: bool) -> None:
    wrong = {"type": "json_schema", "json_schema": {"name": "n", "schema": LOOK}}
    error = refused(call("chat/completions", messages=USER, response_format=wrong, stream=stream), 400)
    assert error["param"] == "response_format.json_schema.schema.properties.a.pattern"
    assert error["message"] == "$.properties.a.pattern: look-ahead is not supported"


@pytest.mark.parametrize(
    ("field", "value", "param"),
    [
        ("response_format", {"type": "xml"}, "response_format"),
        ("response_format", "json", "response_format"),
        ("response_format", {"type": "json_schema"}, "response_format.json_schema"),
        ("structured_outputs", {}, "structured_outputs"),
        ("structured_outputs", {"regex": "a", "choice": ["b"]}, "structured_outputs.choice"),
        ("structured_outputs", {"choice": []}, "structured_outputs.choice"),
        ("guided_json", SCHEMA, "guided_json"),
    ],
)
def test_a_field_that_says_no_grammar_is_refused(call: Any, field: str, value: Any, param: str) -> None:
    error = refused(call("completions", prompt=PROMPT, **{field: value}), 400)
    assert error["param"] == param
    assert "structured_outputs" in error["message"] or field != "guided_json"


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_nothing_is_compiled_for_a_key_without_a_request_left(
    call: Any, chat_engine: Any, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    APIKey.objects.update(requests_per_minute=1, burst=1)
    asked = {"messages": USER} if path.startswith("chat") else {"prompt": PROMPT}
    limited = {"structured_outputs": {"regex": "[ab]"}, "max_tokens": 5, **asked}
    assert call(path, **limited).status_code == 200
    monkeypatch.setattr(chat_engine, "prepare", lambda *_: pytest.fail("it was compiled"))
    assert call(path, **limited).status_code == 429
    day = DailyUsage.objects.get()
    assert (day.finished, day.refused) == (1, 1)


def test_generate_takes_one_of_four_fields(generate: Any) -> None:
    text = generate({"prompt": PROMPT, "json_schema": SCHEMA, "max_new_tokens": 100}).json()["completion"]
    assert json.loads(text)["a"] in {"x", "y"}
    answer = generate({"prompt": PROMPT, "choice": ["yes", "no"]}).json()
    assert (answer["completion"] in {"yes", "no"}, answer["finish_reason"]) == (True, "stop")
    [error] = problem(generate({"prompt": PROMPT, "regex": "a", "choice": ["b"]}), 422)["errors"]
    assert error["field"] == "choice"


@pytest.mark.parametrize("stream", [False, True])
def test_generate_refuses_a_schema_by_its_place(generate: Any, stream: bool) -> None:
    found = problem(generate({"prompt": PROMPT, "json_schema": LOOK, "stream": stream}), 422)
    assert "look-ahead is not supported" in found["detail"]
