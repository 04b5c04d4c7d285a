"""`text.format` of `/v1/responses`: what the text fits."""

import json
from typing import Any

import pytest

from tests.openai_api import refused
from tests.openai_document import validator
from tests.openai_responses import answered, events, text_of, without_identity

pytestmark = pytest.mark.django_db

SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["x", "y"]}},
    "required": ["a"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "name": "answer", "description": "é", "schema": SCHEMA, "strict": True}
LOOK = {"properties": {"a": {"pattern": "(?=a)b"}}}


@pytest.mark.parametrize("strict", [True, False, None])
def test_a_text_fits_its_schema_whole_and_streamed(call: Any, strict: Any) -> None:
    form = {**FORMAT, "strict": strict}
    body = {"input": "Hi", "text": {"format": form}, "seed": 3, "max_output_tokens": 70}
    response = answered(call("responses", **body))
    validator("Response").validate(response)
    assert json.loads(text_of(response))["a"] in {"x", "y"}
    assert response["status"] == "completed"
    sent = {name: value for name, value in form.items() if value is not None}
    assert response["text"] == {"format": sent}
    last = events(call("responses", **body, stream=True))[-1].data["response"]
    assert without_identity(last) == without_identity(response)


def test_a_text_is_any_json_object(call: Any) -> None:
    body = {"input": "Hi", "text": {"format": {"type": "json_object"}}, "seed": 1, "max_output_tokens": 70}
    response = answered(call("responses", **body))
    assert response["text"] == {"format": {"type": "json_object"}}
    assert response["status"] == "incomplete" or isinstance(json.loads(text_of(response)), dict)


def test_structured_outputs_hold_a_response_as_well(call: Any) -> None:
    response = answered(call("responses", input="Hi", structured_outputs={"choice": ["yes", "no"]}))
    assert text_of(response) in {"yes", "no"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_cannot_be_enforced_is_refused_by_its_place(call: Any, stream: bool) -> None:
    wrong = {**FORMAT, "schema": LOOK}
    error = refused(call("responses", input="Hi", text={"format": wrong}, stream=stream), 400)
    assert error["param"] == "text.format.schema.properties.a.pattern"
    assert error["message"] == "$.properties.a.pattern: look-ahead is not supported"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"text": {"format": "json"}}, "text.format"),
        ({"text": {"format": {"type": "xml"}}}, "text.format"),
        ({"text": {"format": {"type": "text", "name": "a"}}}, "text.format"),
        ({"text": {"format": {**FORMAT, "json_schema": {}}}}, "text.format"),
        ({"text": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "text.format.name"),
        ({"text": {"format": {**FORMAT, "name": "a b"}}}, "text.format.name"),
        ({"text": {"format": {**FORMAT, "description": "\ud800"}}}, "text.format.description"),
        ({"text": {"format": {**FORMAT, "schema": None}}}, "text.format.schema"),
        ({"text": {"format": {**FORMAT, "schema": {"enum": ["\ud800"]}}}}, "text.format.schema"),
        ({"text": {"format": {**FORMAT, "strict": 1}}}, "text.format.strict"),
        ({"text": {"format": FORMAT}, "structured_outputs": {"regex": "a"}}, "structured_outputs"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"guided_json": SCHEMA}, "guided_json"),
    ],
)
def test_a_format_that_is_wrong_is_refused_by_its_place(call: Any, body: dict[str, Any], param: str) -> None:
    assert refused(call("responses", input="Hi", **body), 400)["param"] == param
