"""The body of a request for a response."""

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from inference.api.openai.only_field import OnlyField
from inference.api.openai.responses.items import InputField
from inference.api.openai.responses.metadata import MetadataField
from inference.api.openai.responses.text_format import TextFormatField
from inference.api.openai.responses.tools import FlatToolChoiceField, FlatToolsField
from inference.api.openai.sampling import MaxTokensField, SamplingSerializer
from inference.api.openai.tool_use import check_choice
from inference.engine.grammar.source import Grammar
from inference.engine.logprobs import MOST_ALTERNATIVES
from llmservice.http.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictListField,
    StrictSerializer,
)

LOGPROBS = "message.output_text.logprobs"
MAX_INCLUDED = 8
NEEDS_STATE = frozenset({"conversation", "previous_response_id"})
STATELESS = "This service stores no responses: send the whole conversation as `input`."


class ResponseStreamOptionsSerializer(StrictSerializer):
    """What the events of a stream have beside the text."""

    include_obfuscation = OnlyField(
        False, default=None, allow_null=True,
        help_text="Only false is supported: events are not padded to hide their length.",
    )  # fmt: skip


class ResponseTextSerializer(StrictSerializer):
    """The form of the text."""

    format = TextFormatField(
        default=None, allow_null=True,
        help_text="What the text must fit: a JSON Schema or any JSON object. It is always enforced.",
    )  # fmt: skip
    verbosity = OnlyField("medium", default=None, allow_null=True, help_text="Only `medium` is supported.")


class ResponseRequestSerializer(SamplingSerializer):
    """A conversation, and how to answer it."""

    also_known_as = {
        **dict.fromkeys(("max_tokens", "max_completion_tokens", "max_new_tokens"), "max_output_tokens"),
        "messages": "input",
        "response_format": "text",
        "logprobs": "include",
    }
    not_supported = NEEDS_STATE | {
        *("context_management", "max_tool_calls", "moderation", "prompt", "prompt_cache_options"),
        *("prompt_cache_retention", "reasoning"),
    }

    input = InputField(
        help_text="A user's text, or the items of a conversation; earlier answers' `output` among them."
    )
    instructions = StrictCharField(
        default=None, allow_null=True, allow_blank=True,
        help_text="A message of the developer before the input.",
    )  # fmt: skip
    max_output_tokens = MaxTokensField(
        default=None, allow_null=True, min_value=1,
        help_text="The most tokens to generate. Default: what the context and `LLM_MAX_NEW_TOKENS` allow.",
    )  # fmt: skip
    include = StrictListField(
        child=OnlyField(LOGPROBS), default=None, allow_null=True, max_length=MAX_INCLUDED,
        help_text=f"`{LOGPROBS}` returns the log-probability of each token.",
    )  # fmt: skip
    top_logprobs = StrictIntegerField(
        default=None, allow_null=True, min_value=0, max_value=MOST_ALTERNATIVES,
        help_text=f"Return this many of the most likely tokens at each place; only with `{LOGPROBS}`.",
    )  # fmt: skip
    metadata = MetadataField(
        default=None, allow_null=True, help_text="Up to 16 pairs of strings; the answer has them as well."
    )
    stream_options = ResponseStreamOptionsSerializer(
        default=None, allow_null=True, help_text="Options of a stream; only with `stream`."
    )
    text = ResponseTextSerializer(default=None, allow_null=True, help_text="The form of the text.")
    store = OnlyField(
        False, default=None, allow_null=True,
        error_messages={"invalid": "This service stores no responses: send false, or leave the field out."},
        help_text="Only false is supported, and the default: the service stores no responses.",
    )  # fmt: skip
    background = OnlyField(
        False, default=None, allow_null=True, help_text="Only false is supported: the answer is the response."
    )
    truncation = OnlyField(
        "disabled", default=None, allow_null=True,
        help_text="Only `disabled` is supported: an input that does not fit the context is an error.",
    )  # fmt: skip
    service_tier = OnlyField(
        "auto", "default", default=None, allow_null=True, help_text="Only `auto` and `default` are supported."
    )
    tools = FlatToolsField(default=None, allow_null=True, help_text="Functions that the model may call.")
    tool_choice = FlatToolChoiceField(
        default=None, allow_null=True,
        help_text=(
            "Whether the model calls a function: `none`, `auto`, `required`, or the one that it has to call. "
            "Default: `auto`, which with `tools` needs a model whose chat template knows tools."
        ),
    )  # fmt: skip
    parallel_tool_calls = StrictBooleanField(
        default=None, allow_null=True, help_text="The model may call several functions. Default: true."
    )
    safety_identifier = StrictCharField(
        default=None, allow_null=True, max_length=64,
        help_text="Accepted for compatibility; it has no effect.",
    )  # fmt: skip
    prompt_cache_key = StrictCharField(
        default=None, allow_null=True, max_length=256,
        help_text="Accepted for compatibility; it has no effect.",
    )  # fmt: skip

    def _hint(self, name: str) -> str:
        return STATELESS if name in NEEDS_STATE else super()._hint(name)

    def grammars(self, fields: Mapping[str, Any]) -> dict[str, Grammar | None]:
        text_format = (fields["text"] or {}).get("format")
        return {"text": text_format and text_format.grammar, **super().grammars(fields)}

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        check_choice(fields)
        if fields["top_logprobs"] and not fields["include"]:
            raise serializers.ValidationError({"top_logprobs": f"Only allowed with `{LOGPROBS}`."})
        return super().validate(fields)
