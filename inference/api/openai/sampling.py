"""The fields that OpenAI's endpoints share: how tokens are chosen, and how many texts there are."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.core.validators import MaxValueValidator
from rest_framework import serializers

from inference.api.grammar_fields import the_grammar
from inference.api.openai.fields import LogitBiasField, StopField
from inference.api.openai.only_field import OnlyField
from inference.api.openai.structured import (
    GUIDED,
    ResponseFormatField,
    StructuredOutputsSerializer,
)
from inference.api.serializers import MAX_SEED
from inference.api.served_model import ServedModelField
from inference.engine.grammar.source import Grammar
from inference.engine.request import GenerationRequest, Prompt, SamplingParams
from llmservice.http.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictListField,
    StrictSerializer,
)

MAX_CHOICES = 16
MAX_STOP_TOKENS = 64

NOT_SUPPORTED = frozenset(
    {
        *(
            "audio",
            "function_call",
            "functions",
            "metadata",
            "modalities",
            "moderation",
            "parallel_tool_calls",
        ),
        *("prediction", "prompt_cache_key", "prompt_cache_retention", "reasoning_effort"),
        *("safety_identifier", "service_tier", "store", "suffix", "tool_choice", "tools", "verbosity"),
        "web_search_options",
    }
)
"""Fields of OpenAI's API that this service does not have. `null` stands for their absence."""


class MaxTokensField(StrictIntegerField):
    """A number of tokens to generate, at most `LLM_MAX_NEW_TOKENS`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # The setting is read when the field is used, and by the OpenAPI document.
        message = str(self.error_messages["max_value"]).format(max_value="%(limit_value)s")
        self.validators.append(MaxValueValidator(lambda: settings.LLM_MAX_NEW_TOKENS, message))


class StreamOptionsSerializer(StrictSerializer):
    """What a stream has beside the text."""

    include_usage = StrictBooleanField(
        default=None,
        allow_null=True,
        help_text="Send the usage in one more chunk before the end of the stream.",
    )
    include_obfuscation = OnlyField(
        False, default=None, allow_null=True,
        help_text="Only false is supported: chunks are not padded to hide their length.",
    )  # fmt: skip
    continuous_usage_stats = StrictBooleanField(
        default=False, help_text="Send the usage so far in each chunk, as load generators ask for it."
    )


class SamplingSerializer(StrictSerializer):
    """The fields of a request that say how to generate; `null` is the same as absence."""

    also_known_as: Mapping[str, str] = {"max_new_tokens": "max_tokens"}
    not_supported: Collection[str] = NOT_SUPPORTED

    model = ServedModelField(max_length=200, help_text="The served model, as `/v1/models` names it.")
    temperature = StrictFloatField(
        default=None, allow_null=True, min_value=0, max_value=2,
        help_text="Divides the logits before sampling; 0 always takes the most likely token. Default: 1.",
    )  # fmt: skip
    top_p = StrictFloatField(
        default=None, allow_null=True, min_value=0, max_value=1,
        help_text="Sample from the most likely tokens whose probabilities add up to this. Default: 1.",
    )  # fmt: skip
    presence_penalty = StrictFloatField(
        default=None, allow_null=True, min_value=-2, max_value=2,
        help_text="Lowers the logits of tokens that were generated before. Default: 0.",
    )  # fmt: skip
    frequency_penalty = StrictFloatField(
        default=None, allow_null=True, min_value=-2, max_value=2,
        help_text="Lowers the logits of tokens once for each time that they were generated. Default: 0.",
    )  # fmt: skip
    logit_bias = LogitBiasField(
        default=None, allow_null=True, help_text="Token ids, and what is added to their logits (-100 to 100)."
    )
    stop = StopField(
        default=None, allow_null=True, help_text="Strings that end the text; the one found is not part of it."
    )
    seed = StrictIntegerField(
        default=None, allow_null=True, min_value=-(2**63), max_value=2**63 - 1,
        help_text="The same request with the same seed and `system_fingerprint` gives the same text.",
    )  # fmt: skip
    stream = StrictBooleanField(
        default=None, allow_null=True, help_text="Answer with server-sent events. Default: false."
    )
    stream_options: StrictSerializer = StreamOptionsSerializer(
        default=None, allow_null=True, help_text="Options of a stream; only with `stream`."
    )
    user = StrictCharField(
        default=None,
        allow_null=True,
        allow_blank=True,
        max_length=256,
        help_text="Accepted for compatibility; it has no effect.",
    )
    top_k = StrictIntegerField(
        default=None, allow_null=True, min_value=0, max_value=1000,
        help_text="Sample from this many of the most likely tokens; 0 disables it. Default: 0.",
    )  # fmt: skip
    min_p = StrictFloatField(
        default=None, allow_null=True, min_value=0, max_value=1,
        help_text="Sample from tokens that are at least this part as likely as the most likely. Default: 0.",
    )  # fmt: skip
    repetition_penalty = StrictFloatField(
        default=None, allow_null=True, min_value=0.1, max_value=10,
        help_text="Above 1, tokens that occurred before become less likely. Default: 1.",
    )  # fmt: skip
    ignore_eos = StrictBooleanField(
        default=None, allow_null=True, help_text="The model's own end token does not end the text."
    )
    min_tokens = StrictIntegerField(
        default=None, allow_null=True, min_value=0, max_value=1_000_000,
        help_text="Nothing ends the text before it has this many tokens. Default: 0.",
    )  # fmt: skip
    stop_token_ids = StrictListField(
        child=StrictIntegerField(min_value=0, max_value=2**31), default=None, allow_null=True,
        max_length=MAX_STOP_TOKENS, help_text="Tokens that end the text.",
    )  # fmt: skip
    structured_outputs = StructuredOutputsSerializer(
        default=None, allow_null=True, help_text="The same for a schema, a pattern, choices or a grammar."
    )

    def _hint(self, name: str) -> str:
        if name in GUIDED:
            return "This service does not support this field: use `structured_outputs`."
        return super()._hint(name)

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["stream_options"] is not None and not fields["stream"]:
            raise serializers.ValidationError({"stream_options": "Only allowed with `stream`."})
        grammars = self.grammars(fields)
        return {**fields, "grammar": the_grammar(grammars, tuple(grammars))}

    def grammars(self, fields: Mapping[str, Any]) -> dict[str, Grammar | None]:
        """What the text must fit, by the fields that can say it."""
        outputs = fields["structured_outputs"]
        return {"structured_outputs": outputs and outputs["grammar"]}


class ChoicesSerializer(SamplingSerializer):
    """The same where the answer has choices."""

    n = StrictIntegerField(
        default=None, allow_null=True, min_value=1, max_value=MAX_CHOICES,
        help_text="Texts to generate for each prompt. The i-th is seeded with `seed` + i. Default: 1.",
    )  # fmt: skip
    return_token_ids = StrictBooleanField(
        default=None, allow_null=True, help_text="Return the generated token ids in each choice."
    )
    response_format = ResponseFormatField(
        default=None,
        allow_null=True,
        help_text="What the text must fit: a JSON Schema or any JSON object. It is always enforced.",
    )

    def grammars(self, fields: Mapping[str, Any]) -> dict[str, Grammar | None]:
        return {"response_format": fields["response_format"], **super().grammars(fields)}


def generation_requests(
    prompts: list[Prompt],
    fields: dict[str, Any],
    *,
    max_new_tokens: int,
    logprobs: int | None,
    prompt_logprobs: int | None = None,
    owner: str,
) -> list[GenerationRequest]:
    """The requests of a body, one for each prompt."""

    def chosen(name: str, default: Any) -> Any:
        return default if fields[name] is None else fields[name]

    temperature = chosen("temperature", 1.0)
    sampling = SamplingParams(
        do_sample=temperature > 0,
        temperature=temperature or 1.0,
        top_k=chosen("top_k", 0),
        top_p=chosen("top_p", 1.0),
        min_p=chosen("min_p", 0.0),
        repetition_penalty=chosen("repetition_penalty", 1.0),
        presence_penalty=chosen("presence_penalty", 0.0),
        frequency_penalty=chosen("frequency_penalty", 0.0),
        logit_bias=chosen("logit_bias", ()),
        seed=chosen("seed", secrets.randbelow(MAX_SEED + 1)),
    )
    request = GenerationRequest(
        prompt="",
        sampling=sampling,
        max_new_tokens=max_new_tokens,
        min_tokens=chosen("min_tokens", 0),
        stop=chosen("stop", ()),
        stop_token_ids=tuple(chosen("stop_token_ids", ())),
        ignore_eos=chosen("ignore_eos", False),
        grammar=fields["grammar"],
        logprobs=logprobs,
        prompt_logprobs=prompt_logprobs,
        streamed=bool(fields["stream"]),
        token_ids=bool(fields.get("return_token_ids")),
        owner=owner,
        timeout_s=settings.LLM_REQUEST_TIMEOUT_S,
    )
    return [replace(request, prompt=prompt) for prompt in prompts]


def check_number(texts: int) -> None:
    """Refuse more texts than can run and wait together: trying again would not help.

    Raises:
        ValidationError: there are more.
    """
    most = settings.LLM_MAX_RUNNING + settings.LLM_MAX_QUEUED
    if texts > most:
        raise serializers.ValidationError(
            {"n": f"The request asks for {texts} texts, prompts times n, and at most {most} are possible."}
        )
