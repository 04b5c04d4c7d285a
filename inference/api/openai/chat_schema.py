"""The answers of `POST /v1/chat/completions` in the OpenAPI document."""

import json
from typing import Any

from rest_framework import serializers

from inference.api.openai.answer_schema import (
    ENVELOPE,
    FINISH_REASONS,
    ChoiceChunkSerializer,
    ChoiceSerializer,
    ChunkEventsSerializer,
    ChunkSerializer,
    ConstantField,
    EnvelopeSerializer,
    OpenAIUsageSerializer,
)
from inference.api.openai.schema import OpenAIErrorSerializer

KIND = "chat.completion"
REASONS = [*FINISH_REASONS, "tool_calls"]
CHUNK_KIND = "chat.completion.chunk"
_AROUND = {"id": "chatcmpl-4a1c8d0f5b5e4d3c9f6a7b8c9d0e1f2a", **ENVELOPE}
ANSWER = {
    **_AROUND,
    "object": KIND,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 36,
        "completion_tokens": 3,
        "total_tokens": 39,
        "prompt_tokens_details": {"cached_tokens": 32},
    },
}


def _chunk(delta: dict[str, Any], finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    content = {**_AROUND, "object": CHUNK_KIND, "choices": [choice]}
    return b"data: %s\n\n" % json.dumps(content).encode()


STREAM = (
    _chunk({"role": "assistant", "content": "", "refusal": None}, None)
    + _chunk({"content": "Paris."}, None)
    + _chunk({}, "stop")
    + b"data: [DONE]\n\n"
)


class AlternativeSerializer(serializers.Serializer[Any]):
    """A token that might have been chosen."""

    token = serializers.CharField(help_text="Its text.")
    logprob = serializers.FloatField(max_value=0, help_text="Its log-probability.")
    bytes = serializers.ListField(
        child=serializers.IntegerField(min_value=0, max_value=255),
        help_text="Its bytes: a token may be a part of a character.",
    )


class TokenLogprobSerializer(AlternativeSerializer):
    """A generated token."""

    top_logprobs = AlternativeSerializer(
        many=True, help_text="The most likely tokens at its place, as many as `top_logprobs` says."
    )


class ChatLogprobsSerializer(serializers.Serializer[Any]):
    """The log-probabilities of a message's tokens."""

    content = TokenLogprobSerializer(many=True, help_text="Those of each token.")
    refusal = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="Always null: no message is a refusal."
    )


class CalledFunctionSerializer(serializers.Serializer[Any]):
    """A function and its arguments."""

    name = serializers.CharField(help_text="Its name.")
    arguments = serializers.CharField(help_text="A JSON object that fits its schema, as text.")


class ToolCallSerializer(serializers.Serializer[Any]):
    """A call of a function."""

    id = serializers.CharField(help_text="Names the call in the message with its result.")
    type = ConstantField("function", help_text="The kind of the tool.")
    function = CalledFunctionSerializer(help_text="What to call.")


class AssistantMessageSerializer(serializers.Serializer[Any]):
    """A generated message."""

    role = ConstantField("assistant", help_text="Who speaks.")
    content = serializers.CharField(allow_null=True, help_text="The text; null if there are only calls.")
    refusal = serializers.CharField(allow_null=True, help_text="Always null: no message is a refusal.")
    tool_calls = ToolCallSerializer(many=True, required=False, help_text="The functions to call, if any.")


class ChatChoiceSerializer(ChoiceSerializer):
    """One of the messages."""

    message = AssistantMessageSerializer(help_text="The message.")
    finish_reason = serializers.ChoiceField(
        REASONS,
        help_text="`tool_calls` if the model calls tools by its own choice; otherwise why the text ends.",
    )
    logprobs = ChatLogprobsSerializer(allow_null=True, help_text="Only with `logprobs`.")


class ChatCompletionSerializer(EnvelopeSerializer):
    """The messages that continue the conversation."""

    object = ConstantField(KIND, help_text="The kind of the answer.")
    choices = ChatChoiceSerializer(many=True, help_text="`n` messages.")
    usage = OpenAIUsageSerializer(
        help_text="The tokens of the request, in which the conversation counts once."
    )


class FunctionDeltaSerializer(serializers.Serializer[Any]):
    """What a chunk adds to a call."""

    name = serializers.CharField(required=False, help_text="Its name; in the first chunk of the call.")
    arguments = serializers.CharField(help_text="The next piece of the arguments.")


class ToolCallDeltaSerializer(serializers.Serializer[Any]):
    """What a chunk adds to one of the calls."""

    index = serializers.IntegerField(min_value=0, help_text="Which of the calls.")
    id = serializers.CharField(required=False, help_text="In the first chunk of the call.")
    type = ConstantField("function", required=False, help_text="In the first chunk of the call.")
    function = FunctionDeltaSerializer(help_text="What is new.")


class DeltaSerializer(serializers.Serializer[Any]):
    """What a chunk adds to a message."""

    role = ConstantField("assistant", required=False, help_text="Who speaks; in the first chunk only.")
    content = serializers.CharField(
        required=False, allow_null=True, help_text="The next piece of the text; null where calls may follow."
    )
    refusal = serializers.CharField(required=False, allow_null=True, help_text="Always null.")
    tool_calls = ToolCallDeltaSerializer(many=True, required=False, help_text="What is new in the calls.")


class ChatChoiceChunkSerializer(ChoiceChunkSerializer):
    """What a chunk adds to one of the messages."""

    delta = DeltaSerializer(help_text="What is new.")
    finish_reason = serializers.ChoiceField(
        REASONS, allow_null=True, help_text="Why the message ends; null before its end."
    )
    logprobs = ChatLogprobsSerializer(allow_null=True, help_text="Those of the new tokens.")


class ChatChunkSerializer(ChunkSerializer):
    """A piece of a stream of messages."""

    object = ConstantField(CHUNK_KIND, help_text="The kind of the answer.")
    choices = ChatChoiceChunkSerializer(many=True, help_text="What is new, for one of the messages.")


class ChatEventsSerializer(ChunkEventsSerializer):
    """An event of a stream: a chunk, an error that ends it, or `[DONE]` after the last chunk."""

    unnamed = (ChatChunkSerializer, OpenAIErrorSerializer)
