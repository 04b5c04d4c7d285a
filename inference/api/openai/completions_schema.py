"""The answers of `POST /v1/completions` in the OpenAPI document."""

import json
from typing import Any

from rest_framework import serializers

from inference.api.openai.answer_schema import (
    ENVELOPE,
    ChoiceChunkSerializer,
    ChoiceSerializer,
    ChunkEventsSerializer,
    ChunkSerializer,
    ConstantField,
    EnvelopeSerializer,
    OpenAIUsageSerializer,
)
from inference.api.openai.schema import OpenAIErrorSerializer

KIND = "text_completion"
_AROUND = {"id": "cmpl-4a1c8d0f5b5e4d3c9f6a7b8c9d0e1f2a", "object": KIND, **ENVELOPE}
ANSWER = {
    **_AROUND,
    "choices": [{"index": 0, "text": " Paris.", "logprobs": None, "finish_reason": "stop"}],
    "usage": {
        "prompt_tokens": 5,
        "completion_tokens": 2,
        "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 0},
    },
}


def _chunk(text: str, finish_reason: str | None) -> bytes:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish_reason}
    return b"data: %s\n\n" % json.dumps({**_AROUND, "choices": [choice]}).encode()


STREAM = _chunk(" Paris", None) + _chunk(".", "stop") + b"data: [DONE]\n\n"


class CompletionLogprobsSerializer(serializers.Serializer[Any]):
    """The log-probabilities of the tokens, as lists with an item for each token."""

    tokens = serializers.ListField(child=serializers.CharField(), help_text="The tokens' texts.")
    token_logprobs = serializers.ListField(
        child=serializers.FloatField(allow_null=True, max_value=0),
        help_text="Their log-probabilities; null for the first token of the prompt.",
    )
    top_logprobs = serializers.ListField(
        child=serializers.DictField(child=serializers.FloatField(max_value=0), allow_null=True),
        help_text="The most likely tokens at each place and the chosen one, with their log-probabilities.",
    )
    text_offset = serializers.ListField(
        child=serializers.IntegerField(min_value=0), help_text="Where each token begins in the text."
    )


class CompletionChoiceSerializer(ChoiceSerializer):
    """One of the texts."""

    text = serializers.CharField(help_text="The text; with `echo`, after its prompt.")
    logprobs = CompletionLogprobsSerializer(
        allow_null=True, help_text="Only with `logprobs`; with `echo`, those of the prompt come first."
    )


class CompletionSerializer(EnvelopeSerializer):
    """The texts that continue the prompts."""

    object = ConstantField(KIND, help_text="The kind of the answer.")
    choices = CompletionChoiceSerializer(many=True, help_text="`n` texts for each prompt.")
    usage = OpenAIUsageSerializer(help_text="The tokens of the request, in which each prompt counts once.")


class CompletionChoiceChunkSerializer(ChoiceChunkSerializer, CompletionChoiceSerializer):
    """What a chunk adds to one of the texts."""


class CompletionChunkSerializer(ChunkSerializer):
    """A piece of a stream of completions."""

    object = ConstantField(KIND, help_text="The kind of the answer.")
    choices = CompletionChoiceChunkSerializer(many=True, help_text="What is new, for one of the texts.")


class CompletionEventsSerializer(ChunkEventsSerializer):
    """An event of a stream: a chunk, an error that ends it, or `[DONE]` after the last chunk."""

    unnamed = (CompletionChunkSerializer, OpenAIErrorSerializer)
