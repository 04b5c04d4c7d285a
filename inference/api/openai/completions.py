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
from inference.api.openai.logprobs import CompletionLogprobs, check_size, prompt_logprobs
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
from inference.engine.backend import Backend
from inference.engine.generation import Completion, Event
from inference.engine.logprobs import MOST_ALTERNATIVES, TokenLogprobs
from inference.metering import Metered
from llmservice.http.fields import StrictBooleanField, StrictIntegerField

Scores = tuple[TokenLogprobs | None, ...]

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
    prompt_logprobs = StrictIntegerField(
        default=None, allow_null=True, min_value=0, max_value=MOST_ALTERNATIVES,
        help_text="Return the log-probability of each token of the prompt, and of this many of the most "
        "likely ones, as vLLM does; not with `stream`.",
    )  # fmt: skip
    best_of = StrictIntegerField(
        default=None, allow_null=True, min_value=1, help_text="Must equal `n`: no other number is supported."
    )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["best_of"] not in {None, fields["n"] or 1}:
            raise serializers.ValidationError({"best_of": "Must equal `n`: no other number is supported."})
        if fields["max_tokens"] == 0 and not fields["echo"]:
            raise serializers.ValidationError({"max_tokens": "Must be at least 1 without `echo`."})
        if fields["prompt_logprobs"] is not None and fields["stream"]:
            raise serializers.ValidationError({"prompt_logprobs": "Not allowed with `stream`."})
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
            prompt_logprobs=_alternatives_of_the_prompt(fields),
            owner=str(self.key.pk),
        )
        choices = fields["n"] or 1
        check_number(len(requests) * choices)
        metered = Metered(key=self.key, backend=backend, requests=requests, choices=choices)
        check_size(
            (_echoed(fields), choices * metered.prompt_tokens),
            (fields["logprobs"], choices * len(requests) * limit),
            (fields["prompt_logprobs"], choices * metered.prompt_tokens),
        )
        # Before admission: were this to fail after it, nobody would settle.
        texts = Texts(fields, metered, backend)
        metered.admit()
        envelope = answer.Envelope(
            kind=schema.KIND, chunk_kind=schema.KIND, id_prefix="cmpl", backend=backend
        )
        return answer.respond(request, fields, metered, envelope, texts)


def _echoed(fields: dict[str, Any]) -> int | None:
    """The alternatives at each token of an echoed prompt; None where there are no log-probabilities."""
    alternatives: int | None = fields["logprobs"] if fields["echo"] else None
    return alternatives


def _alternatives_of_the_prompt(fields: dict[str, Any]) -> int | None:
    asked = [_echoed(fields), fields["prompt_logprobs"]]
    return max((number for number in asked if number is not None), default=None)


class Texts:
    """The choices of one request, whole or as they grow."""

    def __init__(self, fields: dict[str, Any], metered: Metered, backend: Backend) -> None:
        self._choices = fields["n"] or 1
        self._ids = bool(fields["return_token_ids"])
        self._begun: set[int] = set()
        self._scores = _echoed(fields) is not None
        self._prompt_logprobs: int | None = fields["prompt_logprobs"]
        self._alternatives = fields["logprobs"] or 0
        self._scored: dict[int, Scores] = {}
        self._held: dict[int, list[Event]] = {}
        prompts = zip(metered.prompt_texts, metered.first_tokens, strict=True) if fields["echo"] else ()
        self._prompts = [prompt for prompt in prompts for _ in range(self._choices)]
        count = len(fields["prompt"]) * self._choices if fields["logprobs"] is not None else 0
        self._logprobs = [self._new_logprobs(index, backend) for index in range(count)]

    def _new_logprobs(self, index: int, backend: Backend) -> CompletionLogprobs:
        text, first_token = self._prompts[index] if self._prompts else ("", 0)
        return CompletionLogprobs(
            backend, alternatives=self._alternatives, prompt_text=text, first_token=first_token
        )

    def choice(self, index: int, completion: Completion) -> answer.Choice:
        [choice] = self.chunks(index, completion.as_event())
        if self._prompt_logprobs is not None:
            scores = self._scored[index - index % self._choices]
            choice["prompt_logprobs"] = prompt_logprobs(scores, self._prompt_logprobs)
        return choice

    def chunks(self, index: int, event: Event) -> Iterator[answer.Choice]:
        # The first choice scores the prompt for the others, which wait for it.
        first = index - index % self._choices
        if event.prompt_logprobs:
            self._scored[first] = event.prompt_logprobs
        if self._scores and first not in self._scored:
            self._held.setdefault(index, []).append(event)
            return
        yield from self._chunk(index, event)
        if event.prompt_logprobs:
            for other in range(first + 1, first + self._choices):
                for held in self._held.pop(other, ()):
                    yield from self._chunk(other, held)

    def _chunk(self, index: int, event: Event) -> Iterator[answer.Choice]:
        text = event.text
        scores: Scores = ()
        if index not in self._begun:
            self._begun.add(index)
            if self._prompts:
                text = self._prompts[index][0] + text
            if self._scores:
                scores = self._scored[index - index % self._choices]
        logprobs = self._logprobs[index].of(scores, event.logprobs) if self._logprobs else None
        if text or logprobs or event.finish_reason or (self._ids and event.token_ids):
            ids = {"token_ids": list(event.token_ids)} if self._ids else {}
            ended = event.finish_reason
            yield {"index": index, "text": text, "logprobs": logprobs, "finish_reason": ended, **ids}
