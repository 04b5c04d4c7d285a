"""`POST /generate`: continue a prompt."""

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from django.conf import settings
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.key_views import KeyView
from accounts.limits.policy import Limits
from accounts.models import Scope
from inference import runtime
from inference.api import stream
from inference.api.disconnect import result_for
from inference.api.grammar_fields import the_grammar
from inference.api.serializers import (
    GRAMMARS,
    MAX_SEED,
    GenerateEventsSerializer,
    GenerateRequestSerializer,
    GenerateResponseSerializer,
)
from inference.api.served_model import SERVED_MODEL
from inference.api.stream import EventStream
from inference.api.stream_schema import events
from inference.engine.generation import Completion, Event
from inference.engine.request import GenerationRequest, SamplingParams
from inference.metering import Metered
from llmservice.http.problem_schema import problems

REQUEST = OpenApiExample(
    "Sampled",
    {"prompt": "Once upon a time", "max_new_tokens": 50, "temperature": 0.7},
    request_only=True,
)
GREEDY_REQUEST = OpenApiExample(
    "Greedy",
    {"prompt": "The capital of France is", "max_new_tokens": 20, "do_sample": False, "stop": ["\n"]},
    summary="Greedy, up to the end of the line",
    request_only=True,
)
ANSWER = OpenApiExample(
    "Text",
    {
        "generated_text": "Once upon a time there was a small town by the sea.",
        "completion": " there was a small town by the sea.",
        "finish_reason": "stop",
        "seed": 1804289383,
        "model": SERVED_MODEL,
        "usage": {"prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13},
    },
)
STREAMED_REQUEST = OpenApiExample(
    "Streamed",
    {"prompt": "Once upon a time", "max_new_tokens": 50, "stream": True},
    summary="Streamed as server-sent events",
    request_only=True,
)
REQUESTS = [REQUEST, GREEDY_REQUEST, STREAMED_REQUEST]
EVENTS = (
    stream.event("text", {"text": " there was a small town"})
    + stream.event("text", {"text": " by the sea."})
    + stream.event("done", ANSWER.value)
)


class GenerateView(KeyView):
    """Continues a prompt."""

    scope = Scope.GENERATE
    counts_refusals = True

    @extend_schema(
        operation_id="generate",
        tags=["Generation"],
        summary="Generate text after a prompt",
        description=(
            "Returns the prompt followed by the generated text, once it is complete. "
            "A request with the same fields and the same `seed` gives the same text at any load. "
            "Closing the connection cancels the request; the tokens generated until then are counted.\n\n"
            "With `stream`, the answer is a stream of server-sent events: `text` with the next piece of the "
            "completion, `done` with the same answer as without `stream`, or `error` with a problem document "
            "if the generation fails after the stream has started. Lines that start with a colon keep the "
            "connection open."
        ),
        request=OpenApiRequest(GenerateRequestSerializer, examples=REQUESTS),
        responses={
            200: OpenApiResponse(GenerateResponseSerializer, description="The text.", examples=[ANSWER]),
            **events(GenerateEventsSerializer, description="The text.", example=EVENTS),
            **problems(400, 403, 413, 415, 422, 429, 500, 503, 504),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        fields = self._fields(request)
        backend = runtime.backend()
        streamed = stream.is_wanted(request, fields["stream"])
        metered = Metered(
            key=self.key, backend=backend, requests=[self._generation(fields, streamed)]
        ).admit()

        def answer(completion: Completion) -> dict[str, Any]:
            return _answer(completion, fields, model=backend.model_name, usage=metered.usage)

        if streamed:
            return _streamed(request, metered, answer)
        with metered:
            [generation] = metered.generations
            completion = result_for(request, generation)
        return Response(answer(completion))

    def _fields(self, request: Request) -> dict[str, Any]:
        serializer = GenerateRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        Limits.of(self.key).check_max_tokens(serializer.initial_data)
        fields: dict[str, Any] = serializer.validated_data
        if fields["seed"] is None:
            fields["seed"] = secrets.randbelow(MAX_SEED + 1)
        return fields

    def _generation(self, fields: Mapping[str, Any], streamed: bool) -> GenerationRequest:
        return GenerationRequest(
            prompt=fields["prompt"],
            max_new_tokens=fields["max_new_tokens"],
            sampling=SamplingParams(
                do_sample=fields["do_sample"],
                temperature=fields["temperature"],
                top_k=fields["top_k"],
                top_p=fields["top_p"],
                repetition_penalty=fields["repetition_penalty"],
                seed=fields["seed"],
            ),
            stop=tuple(fields["stop"]),
            grammar=the_grammar(fields, GRAMMARS),
            streamed=streamed,
            owner=str(self.key.pk),
            timeout_s=settings.LLM_REQUEST_TIMEOUT_S,
        )


def _streamed(
    request: Request, metered: Metered, answer: Callable[[Completion], Mapping[str, Any]]
) -> StreamingHttpResponse:
    [generation] = metered.generations

    def pieces(_: int, event: Event) -> Iterator[bytes]:
        if event.text:
            yield stream.event("text", {"text": event.text})

    def last() -> Iterator[bytes]:
        yield stream.event("done", answer(generation.result()))

    return EventStream(request, metered, pieces=pieces, last=last).response()


def _answer(
    completion: Completion, fields: Mapping[str, Any], *, model: str, usage: dict[str, int]
) -> dict[str, Any]:
    return {
        "generated_text": fields["prompt"] + completion.text,
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
        "seed": fields["seed"],
        "model": model,
        "usage": usage,
    }
