"""A response in the OpenAPI document."""

from typing import Any

from drf_spectacular.utils import OpenApiExample, PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers

from inference.api.openai.answer_schema import CACHED_TOKENS, ENVELOPE, ConstantField
from inference.api.openai.chat_schema import TokenLogprobSerializer
from inference.api.openai.responses.tools import FlatToolChoiceField
from inference.api.served_model import SERVED_MODEL, ServedModelField

ITEM_STATUSES = ["in_progress", "completed", "incomplete"]
QUESTION = "What is the capital of France?"
REQUESTS = [
    OpenApiExample("Text", {"model": SERVED_MODEL, "input": QUESTION}, request_only=True),
    OpenApiExample(
        "Conversation",
        {
            "model": SERVED_MODEL,
            "instructions": "Answer in one word.",
            "input": [
                {"role": "user", "content": QUESTION},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Paris"}],
                },
                {"role": "user", "content": [{"type": "input_text", "text": "And of Spain?"}]},
            ],
            "max_output_tokens": 20,
            "temperature": 0,
        },
        summary="A conversation with instructions",
        request_only=True,
    ),
    OpenApiExample(
        "Schema",
        {
            "model": SERVED_MODEL,
            "input": QUESTION,
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "city",
                    "schema": {
                        "type": "object",
                        "properties": {"city": {"type": "string"}},
                        "required": ["city"],
                        "additionalProperties": False,
                    },
                }
            },
        },
        summary="Text that fits a JSON Schema",
        request_only=True,
    ),
    OpenApiExample(
        "Tool",
        {
            "model": SERVED_MODEL,
            "input": "What is the weather in Paris?",
            "tools": [
                {
                    "type": "function",
                    "name": "weather",
                    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
                }
            ],
            "tool_choice": "required",
        },
        summary="A call of a function",
        request_only=True,
    ),
    OpenApiExample(
        "Streamed",
        {"model": SERVED_MODEL, "input": QUESTION, "stream": True},
        summary="Streamed as server-sent events",
        request_only=True,
    ),
]
RESPONSE: dict[str, Any] = {
    "id": "resp_4a1c8d0f5b5e4d3c9f6a7b8c9d0e1f2a",
    "object": "response",
    "created_at": ENVELOPE["created"],
    "status": "completed",
    "completed_at": ENVELOPE["created"] + 1,
    "error": None,
    "incomplete_details": None,
    "model": SERVED_MODEL,
    "system_fingerprint": ENVELOPE["system_fingerprint"],
    "output": [
        {
            "id": "msg_9b0c1d2e3f4a4b5c8d7e6f5a4b3c2d1e",
            "type": "message",
            "status": "completed",
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Paris.", "annotations": [], "logprobs": []},
            ],
        }
    ],
    "usage": {
        "input_tokens": 36,
        "input_tokens_details": {"cached_tokens": 32, "cache_write_tokens": 0},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 39,
    },
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "temperature": 1.0,
    "top_p": 1.0,
    "top_logprobs": 0,
    "text": {"format": {"type": "text"}},
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "max_tool_calls": None,
    "truncation": "disabled",
    "store": False,
    "background": False,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "prompt_cache_key": None,
}


class ResponsePartSerializer(serializers.Serializer[Any]):
    """The text of a message."""

    type = ConstantField("output_text", help_text="Always `output_text`.")
    text = serializers.CharField(help_text="The text.")
    annotations = serializers.ListField(max_length=0, help_text="Always empty.")
    logprobs = TokenLogprobSerializer(
        many=True, help_text="The tokens' log-probabilities, if `include` asks for them."
    )


class ResponseMessageSerializer(serializers.Serializer[Any]):
    """The assistant's message."""

    id = serializers.CharField(help_text="`msg_` and a number of its own.")
    type = ConstantField("message", help_text="Always `message`.")
    status = serializers.ChoiceField(
        choices=ITEM_STATUSES, help_text="`in_progress` only while it is streamed."
    )
    role = ConstantField("assistant", help_text="Always `assistant`.")
    content = ResponsePartSerializer(many=True, help_text="One part, the text.")


class ResponseCallSerializer(serializers.Serializer[Any]):
    """A call of a function."""

    id = serializers.CharField(help_text="`fc_` and a number of its own.")
    type = ConstantField("function_call", help_text="Always `function_call`.")
    status = serializers.ChoiceField(
        choices=ITEM_STATUSES, help_text="`in_progress` only while it is streamed."
    )
    call_id = serializers.CharField(help_text="Names the call in the item with its result.")
    name = serializers.CharField(help_text="The name of the function.")
    arguments = serializers.CharField(help_text="A JSON object that fits its schema, as text.")


@extend_schema_field(
    PolymorphicProxySerializer(
        component_name="ResponseOutputItem",
        serializers=[ResponseMessageSerializer, ResponseCallSerializer],
        resource_type_field_name=None,
    )
)
class OutputItemField(serializers.JSONField):
    """A message or a call."""


class ResponseToolSerializer(serializers.Serializer[Any]):
    """A function that the model may call."""

    type = ConstantField("function", help_text="The kind of the tool.")
    name = serializers.CharField(help_text="Its name.")
    description = serializers.CharField(allow_null=True, help_text="What it does.")
    parameters = serializers.DictField(help_text="The JSON schema of its arguments.")
    strict = serializers.BooleanField(help_text="As in the request, or true.")


class ResponseInputDetailsSerializer(serializers.Serializer[Any]):
    """The input's tokens that were read from a prompt cache and written to it; this service has none."""

    cached_tokens = serializers.IntegerField(help_text=CACHED_TOKENS)
    cache_write_tokens = serializers.IntegerField(help_text="Always 0.")


class ResponseOutputDetailsSerializer(serializers.Serializer[Any]):
    """The tokens generated that are not part of the text."""

    reasoning_tokens = serializers.IntegerField(help_text="Always 0.")


class ResponseUsageSerializer(serializers.Serializer[Any]):
    """The tokens used."""

    input_tokens = serializers.IntegerField(help_text="Tokens of the conversation.")
    input_tokens_details = ResponseInputDetailsSerializer(help_text="Of the cache.")
    output_tokens = serializers.IntegerField(help_text="Tokens generated.")
    output_tokens_details = ResponseOutputDetailsSerializer(help_text="Of reasoning.")
    total_tokens = serializers.IntegerField(help_text="All of them.")


class ResponseReasoningSerializer(serializers.Serializer[Any]):
    """How the model reasons."""

    effort = serializers.CharField(allow_null=True, help_text="Always null.")
    summary = serializers.CharField(allow_null=True, help_text="Always null.")


class ResponseSerializer(serializers.Serializer[Any]):
    """A response; what the request left out has its default."""

    id = serializers.CharField(help_text="`resp_` and a number of its own.")
    object = ConstantField("response", help_text="Always `response`.")
    created_at = serializers.IntegerField(help_text="When the request was admitted, in seconds since 1970.")
    status = serializers.ChoiceField(
        choices=[*ITEM_STATUSES, "failed"], help_text="`in_progress` and `failed` only in events of a stream."
    )
    completed_at = serializers.IntegerField(allow_null=True, help_text="When it was completed.")
    error = serializers.DictField(allow_null=True, help_text="Null, except in the event `response.failed`.")
    incomplete_details = serializers.DictField(
        child=serializers.CharField(), allow_null=True, help_text="Its `reason`: `max_output_tokens`."
    )
    model = ServedModelField(help_text="The model that generated the text.")
    system_fingerprint = serializers.CharField(
        allow_null=True, help_text="The same fingerprint, request and `seed` give the same text."
    )
    output = serializers.ListField(
        child=OutputItemField(), help_text="The items, once they are complete: a message, calls, or both."
    )
    usage = ResponseUsageSerializer(required=False, help_text="The tokens used, once it is complete.")
    instructions = serializers.CharField(allow_null=True, help_text="As in the request.")
    max_output_tokens = serializers.IntegerField(allow_null=True, help_text="As in the request.")
    metadata = serializers.DictField(child=serializers.CharField(), help_text="As in the request.")
    temperature = serializers.FloatField(help_text="As in the request, or 1.")
    top_p = serializers.FloatField(help_text="As in the request, or 1.")
    top_logprobs = serializers.IntegerField(help_text="As in the request, or 0.")
    text = serializers.JSONField(help_text="Its `format`, as in the request.")
    tools = ResponseToolSerializer(many=True, help_text="As in the request.")
    tool_choice = FlatToolChoiceField(help_text="As in the request, or `auto`.")
    parallel_tool_calls = serializers.BooleanField(help_text="As in the request, or true.")
    max_tool_calls = serializers.IntegerField(allow_null=True, help_text="Always null.")
    truncation = ConstantField("disabled", help_text="Always `disabled`.")
    store = serializers.BooleanField(help_text="Always false: the service stores no responses.")
    background = serializers.BooleanField(help_text="Always false.")
    previous_response_id = serializers.CharField(allow_null=True, help_text="Always null.")
    reasoning = ResponseReasoningSerializer(help_text="How the model reasons.")
    user = serializers.CharField(required=False, help_text="As in the request.")
    safety_identifier = serializers.CharField(allow_null=True, help_text="As in the request.")
    prompt_cache_key = serializers.CharField(allow_null=True, help_text="As in the request.")
