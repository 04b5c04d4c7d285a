"""`POST /v1/chat/completions`: continue a conversation."""

from collections.abc import Iterator
from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiRequest, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from accounts.models import Scope
from inference.api.openai import answer
from inference.api.openai import chat_schema as schema
from inference.api.openai.conversation import conversation_request
from inference.api.openai.logprobs import ChatLogprobs, check_size
from inference.api.openai.messages import MessagesField
from inference.api.openai.only_field import OnlyField
from inference.api.openai.sampling import NOT_SUPPORTED, ChoicesSerializer, MaxTokensField, check_number
from inference.api.openai.schema import errors
from inference.api.openai.tool_answer import ToolAnswer
from inference.api.openai.tool_use import ToolUse, check_tool_fields, conversation, tool_use
from inference.api.openai.tools import ToolChoiceField, ToolsField
from inference.api.openai.views import OpenAIView, validated
from inference.api.served_model import SERVED_MODEL
from inference.api.stream_schema import events
from inference.engine.backend import Backend
from inference.engine.generation import Completion, Event
from inference.engine.logprobs import MOST_ALTERNATIVES
from inference.metering import Metered
from llmservice.http.fields import StrictBooleanField, StrictIntegerField


class ChatRequestSerializer(ChoicesSerializer):
    """A conversation, and how to continue it."""

    messages = MessagesField(help_text="The conversation: each message has `role` and `content`.")
    max_completion_tokens = MaxTokensField(
        default=None, allow_null=True, min_value=1,
        help_text="The most tokens to generate. Default: what the context and `LLM_MAX_NEW_TOKENS` allow.",
    )  # fmt: skip
    max_tokens = MaxTokensField(
        default=None, allow_null=True, min_value=1, help_text="The older name of `max_completion_tokens`."
    )
    logprobs = StrictBooleanField(
        default=None, allow_null=True, help_text="Return the log-probability of each token."
    )
    top_logprobs = StrictIntegerField(
        default=None, allow_null=True, min_value=0, max_value=MOST_ALTERNATIVES,
        help_text="Return this many of the most likely tokens at each place; only with `logprobs`.",
    )  # fmt: skip

    tools = ToolsField(default=None, allow_null=True, help_text="Functions that the model may call.")
    tool_choice = ToolChoiceField(
        default=None, allow_null=True,
        help_text=(
            "Whether the model calls a function: `none`, `auto`, `required`, or the one that it has to call. "
            "Default: `auto` with `tools`, which needs a model whose chat template knows tools."
        ),
    )  # fmt: skip
    parallel_tool_calls = StrictBooleanField(
        default=None, allow_null=True,
        help_text="The model may call several functions; only with `tools`. Default: true.",
    )  # fmt: skip

    store = OnlyField(
        False, default=None, allow_null=True, help_text="Only false is supported: nothing is stored."
    )
    service_tier = OnlyField(
        "auto", "default", default=None, allow_null=True, help_text="Only `auto` and `default` are supported."
    )
    modalities = OnlyField(["text"], default=None, allow_null=True, help_text='Only `["text"]` is supported.')

    not_supported = NOT_SUPPORTED - {
        *("tools", "tool_choice", "parallel_tool_calls"),
        *("store", "service_tier", "modalities"),
    }

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        check_tool_fields(fields, ("tool_choice", "parallel_tool_calls"))
        if fields["top_logprobs"] and not fields["logprobs"]:
            raise serializers.ValidationError({"top_logprobs": "Only allowed with `logprobs`."})
        older, newer = fields["max_tokens"], fields["max_completion_tokens"]
        if older is not None and newer not in {None, older}:
            raise serializers.ValidationError({"max_tokens": "Must not differ from `max_completion_tokens`."})
        return super().validate(fields)


class ChatCompletionsView(OpenAIView):
    """Continues a conversation."""

    scope = Scope.GENERATE
    counts_refusals = True
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
                        "model": SERVED_MODEL,
                        "messages": [{"role": "user", "content": "What is the capital of France?"}],
                    },
                    request_only=True,
                )
            ],
        ),
        responses={
            200: OpenApiResponse(
                schema.ChatCompletionSerializer,
                description="The messages.",
                examples=[OpenApiExample("Chat", schema.ANSWER)],
            ),
            **events(schema.ChatEventsSerializer, description="The messages.", example=schema.STREAM),
            **errors(400, 401, 403, 404, 413, 415, 429, 500, 503, 504),
        },
    )
    def post(self, request: Request) -> HttpResponseBase:
        fields, backend = validated(ChatRequestSerializer(data=request.data), self.key)
        use = tool_use(fields, backend.tool_format)
        prepared = conversation_request(
            conversation(fields["messages"], use, backend.tool_format),
            fields,
            grammar=use.grammar if use else None,
            backend=backend,
            max_new_tokens=fields["max_completion_tokens"] or fields["max_tokens"],
            logprobs=(fields["top_logprobs"] or 0) if fields["logprobs"] else None,
            key=self.key,
        )
        choices = fields["n"] or 1
        check_number(choices)
        check_size((prepared.request.logprobs, choices * prepared.request.max_new_tokens))
        metered = Metered(key=self.key, backend=backend, requests=[prepared], choices=choices).admit()
        envelope = answer.Envelope(
            kind=schema.KIND, chunk_kind=schema.CHUNK_KIND, id_prefix="chatcmpl", backend=backend
        )
        return answer.respond(request, fields, metered, envelope, Messages(fields, backend, use))


class Messages:
    """The choices of one request, whole or as they grow."""

    def __init__(self, fields: dict[str, Any], backend: Backend, use: ToolUse | None) -> None:
        number = fields["n"] or 1
        self._tool_answers = [ToolAnswer(use) for _ in range(number)] if use else []
        self._logprobs = [ChatLogprobs(backend) for _ in range(number)] if fields["logprobs"] else []
        self._ids = bool(fields["return_token_ids"])
        self._begun: set[int] = set()

    def choice(self, index: int, completion: Completion) -> answer.Choice:
        event = completion.as_event()
        message: dict[str, Any] = {"role": "assistant", "content": completion.text, "refusal": None}
        if self._tool_answers:
            message |= self._tool_answers[index].message(event)
        return {
            "index": index,
            "message": message,
            "logprobs": self._logprobs[index].of(event) if self._logprobs else None,
            "finish_reason": self._reason(index, event),
            **({"token_ids": list(completion.token_ids)} if self._ids else {}),
        }

    def chunks(self, index: int, event: Event) -> Iterator[answer.Choice]:
        if index not in self._begun:
            self._begun.add(index)
            content = None if self._tool_answers else ""
            yield self._chunk(index, {"role": "assistant", "content": content, "refusal": None})
        logprobs = self._logprobs[index].of(event) if self._logprobs else None
        more: dict[str, Any] = {"logprobs": logprobs}
        if self._ids:
            more["token_ids"] = list(event.token_ids)
        deltas = self._deltas(index, event)
        if not deltas and ((logprobs and logprobs["content"]) or (self._ids and event.token_ids)):
            deltas = [{}]
        for delta in deltas:
            yield {**self._chunk(index, delta), **more}
            more = {}
        if event.finish_reason:
            yield {**self._chunk(index, {}), "finish_reason": self._reason(index, event)}

    def _deltas(self, index: int, event: Event) -> list[dict[str, Any]]:
        if self._tool_answers:
            return list(self._tool_answers[index].deltas(event))
        return [{"content": event.text}] if event.text else []

    def _reason(self, index: int, event: Event) -> str | None:
        return self._tool_answers[index].finish_reason(event) if self._tool_answers else event.finish_reason

    def _chunk(self, index: int, delta: dict[str, Any]) -> answer.Choice:
        return {"index": index, "delta": delta, "logprobs": None, "finish_reason": None}
