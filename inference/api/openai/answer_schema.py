"""What the OpenAPI document says of every answer of `/v1` that generates."""

from typing import Any

from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from rest_framework import serializers

from inference.api.serializers import UsageSerializer
from inference.api.served_model import SERVED_MODEL, ServedModelField
from inference.api.stream_schema import EventsSerializer

ENVELOPE: dict[str, Any] = {
    "created": 1767225600,
    "model": SERVED_MODEL,
    "system_fingerprint": "fp_1c9a4f0b2d",
}
FINISH_REASONS = ["length", "stop"]
CACHED_TOKENS = "How many were found in the prefix cache and did not have to be computed."


class ConstantField(serializers.CharField):
    """A field that has the same value in every answer."""

    def __init__(self, value: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.value = value


class ConstantSchema(OpenApiSerializerFieldExtension):  # type: ignore[no-untyped-call]
    target_class = ConstantField

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> dict[str, Any]:
        return {"type": "string", "const": self.target.value}


class EnvelopeSerializer(serializers.Serializer[Any]):
    """What stands around the choices."""

    id = serializers.CharField(help_text="The id of the answer; all chunks of a stream have the same.")
    created = serializers.IntegerField(min_value=0, help_text="When it was created, in Unix time.")
    model = ServedModelField(help_text="The model that generated the texts.")
    system_fingerprint = serializers.CharField(
        required=False,
        help_text="The same fingerprint, request and seed give the same text. Absent if the model's numbers "
        "depend on the load.",
    )


class ChoiceSerializer(serializers.Serializer[Any]):
    """One of the texts."""

    index = serializers.IntegerField(
        min_value=0, help_text="The number of the text: all those of the first prompt come first."
    )
    finish_reason = serializers.ChoiceField(
        choices=FINISH_REASONS,
        help_text="`length`: the limit of tokens is reached; `stop`: the model ended its text, or wrote a "
        "stop string or token.",
    )
    token_ids = serializers.ListField(
        child=serializers.IntegerField(min_value=0),
        required=False,
        help_text="The generated tokens; only with `return_token_ids`.",
    )


class ChoiceChunkSerializer(ChoiceSerializer):
    """What a chunk adds to one of the texts."""

    finish_reason = serializers.ChoiceField(
        choices=FINISH_REASONS, allow_null=True, help_text="Why the text ends; null before its end."
    )


class PromptTokensDetailsSerializer(serializers.Serializer[Any]):
    """The tokens of the prompt that were known already."""

    cached_tokens = serializers.IntegerField(min_value=0, help_text=CACHED_TOKENS)


class OpenAIUsageSerializer(UsageSerializer):
    """The tokens of a request."""

    prompt_tokens_details = PromptTokensDetailsSerializer(help_text="Of the cache.")


class ChunkSerializer(EnvelopeSerializer):
    """A piece of a stream."""

    usage = OpenAIUsageSerializer(
        required=False,
        allow_null=True,
        help_text="Only with `include_usage`: null until the last chunk, which has no choices.",
    )


class ChunkEventsSerializer(EventsSerializer):
    """An event of a stream: a chunk, an error that ends it, or `[DONE]` after the last chunk."""

    ends_with = "[DONE]"
