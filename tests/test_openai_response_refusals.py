"""What `/v1/responses` refuses, by name."""

from typing import Any

import pytest
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from rest_framework.serializers import ValidationError

from accounts.models import DailyUsage
from inference.api.openai.responses.items import ITEMS, PARTS, ROLES, STATUSES, InputField
from llmservice.http.problems import field_errors
from tests.examples import examples
from tests.models import CONTEXT_LENGTH
from tests.openai_api import refused

pytestmark = pytest.mark.django_db

IMAGE = {"type": "input_image", "image_url": "https://example.com/a.png"}
TEXT = {"type": "input_text", "text": "a"}
WRITTEN = {"type": "output_text", "text": "a", "annotations": []}

WORDS = st.sampled_from([*ITEMS, *PARTS, *ROLES, *STATUSES, "{}", "input_image", "\0"])
NAMES = st.sampled_from(
    [
        *("type", "role", "content", "id", "status", "text", "annotations", "logprobs", "name", "0"),
        *("call_id", "arguments", "output"),
    ]
)
# Whatever a client can write into `input`, and near enough to items that some are accepted.
INPUTS = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=5),
    max_leaves=20,
)


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 5}, "input"),
        ({"input": []}, "input"),
        ({"input": "\ud800"}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": ["a"]}, "input[0]"),
        ({"input": [user(TEXT), {"type": "web_search_call", "id": "a"}]}, "input[1]"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"type": "reasoning", "id": "a", "summary": []}]}, "input[0]"),
        ({"input": [{"type": ["message"]}]}, "input[0]"),
        ({"input": [{"role": "tool", "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": ["user"], "content": "a"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": "\0"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": "a", "name": "b"}]}, "input[0].name"),
        ({"input": [{"role": "user", "content": "a", "status": "done"}]}, "input[0].status"),
        ({"input": [{"role": "user", "content": "a", "status": ["completed"]}]}, "input[0].status"),
        ({"input": [{"role": "user", "content": "a", "id": 5}]}, "input[0].id"),
        ({"input": [user("a")]}, "input[0].content[0]"),
        ({"input": [user(TEXT, IMAGE)]}, "input[0].content[1]"),
        ({"input": [user({"type": "input_file", "file_id": "a"})]}, "input[0].content[0]"),
        ({"input": [user({"type": "refusal", "refusal": "a"})]}, "input[0].content[0]"),
        ({"input": [user({"type": "input_text"})]}, "input[0].content[0].text"),
        ({"input": [user({**TEXT, "detail": "low"})]}, "input[0].content[0].detail"),
        ({"input": [user({**WRITTEN, "annotations": [{}]})]}, "input[0].content[0].annotations"),
        ({"input": [user({**WRITTEN, "logprobs": {}})]}, "input[0].content[0].logprobs"),
        ({"instructions": 5}, "instructions"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 10**6}, "max_output_tokens"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"n": 2}, "n"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["reasoning.encrypted_content"]}, "include[0]"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": True}}, "stream_options.include_usage"),
        (
            {"stream": True, "stream_options": {"include_obfuscation": True}},
            "stream_options.include_obfuscation",
        ),
        ({"metadata": {"a": 5}}, "metadata"),
        ({"metadata": {"a" * 65: "b"}}, "metadata"),
        ({"metadata": {"a": "b" * 513}}, "metadata"),
        ({"metadata": {str(i): "" for i in range(17)}}, "metadata"),
        ({"metadata": {"\ud800": ""}}, "metadata"),
        ({"store": True}, "store"),
        ({"store": 0}, "store"),
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"truncation": "auto"}, "truncation"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"text": {"verbosity": "low"}}, "text.verbosity"),
        ({"reasoning": {"effort": "low"}}, "reasoning"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"colour": 1}, "colour"),
    ],
)  # fmt: skip
def test_what_is_wrong_or_not_supported_is_a_400_that_names_it(call: Any, body: Any, param: str) -> None:
    error = refused(call("responses", **({"input": "a"} if body else {}) | body), 400)
    assert (error["param"], error["type"]) == (param, "invalid_request_error")


def test_a_stream_is_refused_before_its_first_byte(call: Any) -> None:
    assert refused(call("responses", input="a", stream=True, temperature=3), 400)["param"] == "temperature"


def test_what_needs_state_says_what_to_do_instead(call: Any) -> None:
    for field in ("previous_response_id", "conversation"):
        assert "`input`" in refused(call("responses", input="a", **{field: "id"}), 400)["message"]
    assert "stores no responses" in refused(call("responses", input="a", store=True), 400)["message"]


RENAMED = (("max_tokens", "max_output_tokens"), ("messages", "input"), ("response_format", "text"))


def test_a_name_of_another_api_is_answered_with_this_ones(call: Any) -> None:
    for name, meant in RENAMED:
        assert f"did you mean {meant}?" in refused(call("responses", input="a", **{name: 5}), 400)["message"]


def test_the_log_probabilities_of_an_earlier_answer_are_not_read(call: Any) -> None:
    item = {"type": "message", "role": "assistant", "content": [{**WRITTEN, "logprobs": [{"token": "b"}]}]}
    response = call("responses", input=[item, user(TEXT)], max_output_tokens=1)
    assert response.status_code == 200


def test_an_input_that_does_not_fit_the_context(call: Any) -> None:
    error = refused(call("responses", input="x" * CONTEXT_LENGTH), 400)
    assert (error["param"], error["code"]) == ("input", "context_length_exceeded")


def test_a_stored_response_is_looked_for_in_vain(client: Client, key: str) -> None:
    for send in (client.get, client.delete):
        assert refused(send("/v1/responses/resp_1"), 401)["code"] == "invalid_api_key"
        error = refused(send("/v1/responses/resp_1", headers={"X-API-Key": key}), 404)
        assert error["code"] == "response_not_stored"


def test_refused_requests_are_counted_in_the_usage_of_the_key(call: Any) -> None:
    refused(call("responses", input=[]), 400)
    assert DailyUsage.objects.get().invalid == 1


@settings(max_examples=examples(100))
@given(INPUTS)
def test_any_input_is_read_or_refused_with_a_path(data: Any) -> None:
    try:
        messages = InputField().run_validation(data)
    except ValidationError as error:
        for mistake in field_errors(error.detail, "input"):
            assert mistake.field.startswith("input")
            assert mistake.detail
    else:
        assert messages
        for message in messages:
            assert message["role"] in {*ROLES, "tool"}
            assert isinstance(message["content"], str)
