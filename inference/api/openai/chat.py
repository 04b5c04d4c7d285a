"""`POST /v1/chat/completions`: continue a conversation."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from django.conf import settings
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.limits.refusals import refusals_count
from accounts.models import Scope
from inference.api.openai import answer
from inference.api.openai.logprobs import ChatLogprobs, check_size
from inference.api.openai.messages import MessagesField, as_chat
from inference.api.openai.sampling import SamplingSerializer, check_number, generation_requests
from inference.api.openai.schema import errors
from inference.api.openai.views import OpenAIView, validated
from inference.engine.backend import Backend
from inference.engine.generation import Completion, Event
from inference.engine.logprobs import MOST_ALTERNATIVES
from inference.engine.request import PreparedRequest
from inference.metering import Metered
from llmservice.http.fields import StrictBooleanField, StrictIntegerField

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
EXAMPLE = {
    "id": "chatcmpl-4a1c8d0f5b5e4d3c9f6a7b8c9d0e1f2a",
    "object": "chat.completion",
    "created": 1767225600,
    "model": MODEL,
    "system_fingerprint": "fp_1c9a4f0b2d",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Paris.", "refusal": None},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 36, "completion_tokens": 3, "total_tokens": 39},
}


class ChatRequestSerializer(SamplingSerializer):
    """A conversation, and how to continue it."""

    messages = MessagesField(help_text="The conversation: each message has `role` and `content`.")
    max_completion_tokens = StrictIntegerField(
        default=None, allow_null=True, min_value=1,
        help_text="The most tokens to generate. Default: what the context and `LLM_MAX_NEW_TOKENS` allow.",
    )  # fmt: skip
    max_tokens = StrictIntegerField(
        default=None, allow_null=True, min_value=1, help_text="The older name of `max_completion_tokens`."
    )
    logprobs = StrictBooleanField(
        default=None, allow_null=True, help_text="Return the log-probability of each token."
    )
    top_logprobs = StrictIntegerField(
        default=None, allow_null=True, min_value=0, max_value=MOST_ALTERNATIVES,
        help_text="Return this many of the most likely tokens at each place; only with `logprobs`.",
    )  # fmt: skip

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if fields["top_logprobs"] is not None and not fields["logprobs"]:
            raise serializers.ValidationError({"top_logprobs": "Only allowed with `logprobs`."})
        older, newer = fields["max_tokens"], fields["max_completion_tokens"]
        if older is not None and newer not in {None, older}:
            raise serializers.ValidationError({"max_tokens": "Must not differ from `max_completion_tokens`."})
        return super().validate(fields)


class ChatCompletionsView(OpenAIView):
    """Continues a conversation."""

    scope = Scope.GENERATE
    prompt_fields = ("messages",)
    limit_fields = ("max_completion_tokens", "max_tokens")

    @extend_schema(
        operation_id="create_chat_completion",
        tags=["OpenAI"],
        summary="Continue a conversation",
        description=(
            "OpenAI's chat completions, by the chat template of the model. Text in a message is never a "
            "control token. If the last message is the assistant's, it is continued. Fields that are "
            "unknown or not supported are an error."
        ),
        request=OpenApiRequest(
            ChatRequestSerializer,
            examples=[
                OpenApiExample(
                    "Chat",
                    {
                        "model": MODEL,
                        "messages": [{"role": "user", "content": "What is the capital of France?"}],
                    },
                    request_only=True,
                )
            ],
        ),
        responses={
            200: OpenApiResponse(
                OpenApiTypes.OBJECT, description="The texts.", examples=[OpenApiExample("Chat", EXAMPLE)]
            ),
            **errors(400, 401, 403, 404, 413, 415, 429, 500, 503, 504),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        with refusals_count(self.key):
            fields, backend = validated(ChatRequestSerializer(data=request.data))
            given = fields["max_completion_tokens"] or fields["max_tokens"]
            [asked] = generation_requests(
                [as_chat(fields["messages"])],
                fields,
                max_new_tokens=given or 1,
                logprobs=(fields["top_logprobs"] or 0) if fields["logprobs"] else None,
                owner=str(self.key.pk),
            )
            choices = fields["n"] or 1
            check_number(choices)
            prepared = backend.prepare(asked)
            if given is None:
                prepared = _up_to_the_rest_of_the_context(prepared, backend)
            check_size((prepared.request.logprobs, choices * prepared.request.max_new_tokens))
            metered = Metered(key=self.key, backend=backend, requests=[prepared], choices=choices).admit()
        envelope = answer.Envelope(
            kind="chat.completion", chunk_kind="chat.completion.chunk", id_prefix="chatcmpl", backend=backend
        )
        return answer.respond(request, fields, metered, envelope, Messages(fields, backend))


def _up_to_the_rest_of_the_context(prepared: PreparedRequest, backend: Backend) -> PreparedRequest:
    most = min(settings.LLM_MAX_NEW_TOKENS, backend.context_length - prepared.prompt_tokens)
    return replace(prepared, request=replace(prepared.request, max_new_tokens=most))


class Messages:
    """The choices of one request, whole or as they grow."""

    def __init__(self, fields: dict[str, Any], backend: Backend) -> None:
        number = (fields["n"] or 1) if fields["logprobs"] else 0
        self._logprobs = [ChatLogprobs(backend) for _ in range(number)]
        self._ids = bool(fields["return_token_ids"])
        self._begun: set[int] = set()

    def choice(self, index: int, completion: Completion) -> answer.Choice:
        event = completion.as_event()
        return {
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "logprobs": self._logprobs[index].of(event) if self._logprobs else None,
            "finish_reason": completion.finish_reason,
            **({"token_ids": list(completion.token_ids)} if self._ids else {}),
        }

    def chunks(self, index: int, event: Event) -> Iterator[answer.Choice]:
        if index not in self._begun:
            self._begun.add(index)
            yield self._chunk(index, {"role": "assistant", "content": "", "refusal": None})
        logprobs = self._logprobs[index].of(event) if self._logprobs else None
        if event.text or (logprobs and logprobs["content"]) or (self._ids and event.token_ids):
            ids = {"token_ids": list(event.token_ids)} if self._ids else {}
            yield {**self._chunk(index, {"content": event.text}), "logprobs": logprobs, **ids}
        if event.finish_reason:
            yield {**self._chunk(index, {}), "finish_reason": event.finish_reason}

    def _chunk(self, index: int, delta: dict[str, Any]) -> answer.Choice:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
