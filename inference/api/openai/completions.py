"""`POST /v1/completions`: continue prompts."""

from collections.abc import Iterator
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.models import Scope
from inference.api.openai import answer
from inference.api.openai import completions_schema as schema
from inference.api.openai.fields import PromptsField
from inference.api.openai.logprobs import CompletionLogprobs
from inference.api.openai.sampling import (
    ChoicesSerializer,
    MaxTokensField,
    check_number,
    generation_requests,
)
from inference.api.openai.schema import errors
from inference.api.openai.views import OpenAIView, validated
from inference.api.served_model import SERVED_MODEL
from inference.api.stream_schema import events
from inference.engine.generation import Completion, Event
from inference.engine.logprobs import MOST_ALTERNATIVES
from inference.metering import Metered
from llmservice.http.fields import StrictBooleanField, StrictIntegerField

DEFAULT_MAX_TOKENS = 16


class CompletionRequestSerializer(ChoicesSerializer):
    """Prompts, and how to continue them."""

    prompt = PromptsField(help_text="Text, a list of texts, token ids, or a list of lists of token ids.")
    max_tokens = MaxTokensField(
        default=None, allow_null=True, min_value=0,
        help_text="The most tokens to generate; 0 only with `echo`. Default: 16.",
    )  # fmt: skip
    echo = StrictBooleanField(default=None, allow_null=True, help_text="Return the prompt before the text.")
    logprobs = StrictIntegerField(
        default=None, allow_null=True, min_value=0, max_value=MOST_ALTERNATIVES,
        help_text="Return the log-probability of each token, and of this many of the most likely ones.",
    )  # fmt: skip
    best_of = StrictIntegerField(
        default=None, allow_null=True, min_value=1, help_text="Must equal `n`: no other number is supported."
    )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["best_of"] not in {None, fields["n"] or 1}:
            raise serializers.ValidationError({"best_of": "Must equal `n`: no other number is supported."})
        if fields["max_tokens"] == 0 and not fields["echo"]:
            raise serializers.ValidationError({"max_tokens": "Must be at least 1 without `echo`."})
        return super().validate(fields)


class CompletionsView(OpenAIView):
    """Continues prompts."""

    scope = Scope.GENERATE
    counts_refusals = True
    prompt_fields = ("prompt",)
    limit_fields = ("max_tokens",)

    @extend_schema(
        operation_id="create_completion",
        tags=["OpenAI"],
        summary="Continue prompts",
        description="OpenAI's completions. Fields that are unknown or not supported are an error.",
        request=OpenApiRequest(
            CompletionRequestSerializer,
            examples=[
                OpenApiExample(
                    "Completion",
                    {"model": SERVED_MODEL, "prompt": "The capital of France is", "max_tokens": 8},
                    request_only=True,
                )
            ],
        ),
        responses={
            200: OpenApiResponse(
                schema.CompletionSerializer,
                description="The texts.",
                examples=[OpenApiExample("Completion", schema.ANSWER)],
            ),
            **events(schema.CompletionEventsSerializer, description="The texts.", example=schema.STREAM),
            **errors(400, 401, 403, 404, 413, 415, 429, 500, 503, 504),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        fields, backend = validated(CompletionRequestSerializer(data=request.data), self.key)
        limit = DEFAULT_MAX_TOKENS if fields["max_tokens"] is None else fields["max_tokens"]
        requests = generation_requests(
            fields["prompt"],
            fields,
            max_new_tokens=limit,
            logprobs=fields["logprobs"],
            prompt_logprobs=fields["logprobs"] if fields["echo"] else None,
            owner=str(self.key.pk),
        )
        choices = fields["n"] or 1
        check_number(len(requests) * choices)
        metered = Metered(key=self.key, backend=backend, requests=requests, choices=choices)
        # Before admission: were this to fail after it, nobody would settle.
        texts = Texts(fields, metered)
        metered.admit()
        envelope = answer.Envelope(
            kind=schema.KIND, chunk_kind=schema.KIND, id_prefix="cmpl", backend=backend
        )
        return answer.respond(request, fields, metered, envelope, texts)


class Texts:
    """The choices of one request, whole or as they grow."""

    def __init__(self, fields: dict[str, Any], metered: Metered) -> None:
        self._echo = bool(fields["echo"])
        self._ids = bool(fields["return_token_ids"])
        self._prompts: list[str] = []
        self._logprobs: list[CompletionLogprobs] = []
        self._begun: set[int] = set()
        # Only these need the prompts as text, which takes time for those that came as token ids.
        if self._echo or fields["logprobs"] is not None:
            self._prompts = [text for text in metered.prompt_texts for _ in range(fields["n"] or 1)]
        if fields["logprobs"] is not None:
            self._logprobs = [CompletionLogprobs(text) for text in self._prompts]

    def choice(self, index: int, completion: Completion) -> answer.Choice:
        event = Event(
            text=completion.text,
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
            prompt_logprobs=completion.prompt_logprobs,
            finish_reason=completion.finish_reason,
        )
        [choice] = self.chunks(index, event)
        return choice

    def chunks(self, index: int, event: Event) -> Iterator[answer.Choice]:
        text = event.text
        if index not in self._begun:
            self._begun.add(index)
            text = (self._prompts[index] if self._echo else "") + text
        logprobs = None
        if self._logprobs:
            logprobs = self._logprobs[index].of(event.prompt_logprobs, event.logprobs)
        if text or logprobs or event.finish_reason or (self._ids and event.token_ids):
            ids = {"token_ids": list(event.token_ids)} if self._ids else {}
            ended = event.finish_reason
            yield {"index": index, "text": text, "logprobs": logprobs, "finish_reason": ended, **ids}
