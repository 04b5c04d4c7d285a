"""`POST /tokenize` and `/detokenize`, in vLLM's form: the tokens of a prompt or a chat, and their text."""

import json
from dataclasses import replace
from typing import Any

from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiRequest,
    OpenApiResponse,
    extend_schema,
    extend_schema_field,
)
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.limits import unreserved
from accounts.models import Outcome, Scope
from inference.api.openai.fields import token_ids
from inference.api.openai.messages import MessagesField
from inference.api.openai.schema import errors
from inference.api.openai.tool_use import check_tool_fields, conversation, tool_use
from inference.api.openai.tools import ToolChoiceField, ToolsField
from inference.api.openai.views import OpenAIView, validated
from inference.api.served_model import SERVED_MODEL, ServedModelField
from inference.engine.backend import Backend
from inference.engine.logprobs import token_text
from inference.engine.request import Chat
from llmservice.http.fields import StrictBooleanField, StrictCharField, StrictSerializer

MAX_CHARACTERS = 2**18
"""Tokenising takes about a second for a million characters."""
MAX_TOKENS = 2**16

ERRORS = (400, 401, 403, 404, 413, 415, 429, 500, 503)


class _RequestSerializer(StrictSerializer):
    model = ServedModelField(
        default=None,
        allow_null=True,
        max_length=200,
        help_text="The served model, as `/v1/models` names it.",
    )


class TokenizeRequestSerializer(_RequestSerializer):
    """A prompt or a chat."""

    prompt = StrictCharField(
        default=None,
        allow_null=True,
        allow_blank=True,
        max_length=MAX_CHARACTERS,
        help_text="The text; either this or `messages`.",
    )
    messages = MessagesField(
        default=None, allow_null=True, help_text="A conversation, laid out by the model's chat template."
    )
    tools = ToolsField(
        default=None, allow_null=True, help_text="Only with `messages`: functions that the model may call."
    )
    tool_choice = ToolChoiceField(
        default=None, allow_null=True, help_text="Only with `tools`, as in `/v1/chat/completions`."
    )
    add_special_tokens = StrictBooleanField(
        default=None, allow_null=True,
        help_text="Add the tokens that the model expects around a text. Default: true. Not with `messages`, "
        "whose template has them.",
    )  # fmt: skip
    add_generation_prompt = StrictBooleanField(
        default=None, allow_null=True,
        help_text="Only with `messages`: add what begins an answer. Default: true, unless the last one is "
        "continued.",
    )  # fmt: skip
    continue_final_message = StrictBooleanField(
        default=None, allow_null=True,
        help_text="Only with `messages`: the answer continues the last one. Default: true if it is the "
        "assistant's, as `/v1/chat/completions` does, and `add_generation_prompt` is not given.",
    )  # fmt: skip
    return_token_strs = StrictBooleanField(
        default=None, allow_null=True, help_text="Return each token as a string too."
    )

    def validate(self, fields: dict[str, Any]) -> dict[str, Any]:
        if (fields["prompt"] is None) == (fields["messages"] is None):
            raise serializers.ValidationError({"prompt": "Send either prompt or messages."})
        check_tool_fields(fields, ("tool_choice",))
        if fields["messages"] is None:
            for name in ("tools", "add_generation_prompt", "continue_final_message"):
                if fields[name] is not None:
                    raise serializers.ValidationError({name: "Only allowed with messages."})
            return fields
        if fields["add_special_tokens"]:
            raise serializers.ValidationError({"add_special_tokens": "Must not be true with messages."})
        if fields["add_generation_prompt"] and fields["continue_final_message"]:
            raise serializers.ValidationError(
                {"continue_final_message": "Must not be true with add_generation_prompt."}
            )
        if _characters(fields) > MAX_CHARACTERS:
            reason = f"Must have at most {MAX_CHARACTERS} characters together, calls and tools included."
            raise serializers.ValidationError({"messages": reason})
        return fields


class TokenizeResponseSerializer(serializers.Serializer[Any]):
    """The tokens."""

    count = serializers.IntegerField(min_value=0, help_text="How many tokens there are.")
    max_model_len = serializers.IntegerField(
        min_value=1, help_text="The tokens that a prompt and its completion may have together."
    )
    tokens = serializers.ListField(child=serializers.IntegerField(min_value=0), help_text="Their ids.")
    token_strs = serializers.ListField(
        child=serializers.CharField(), allow_null=True,
        help_text="Each as a string, as in log-probabilities; null unless it was asked for.",
    )  # fmt: skip


@extend_schema_field(
    {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": MAX_TOKENS, "example": [464]}
)
class TokensField(serializers.Field[Any, Any, Any, Any]):
    """A list of token ids, of which there may be many."""

    default_error_messages = {
        "invalid": "Must be a list of token ids.",
        "many": "Must have at most {most} tokens.",
    }

    def to_internal_value(self, data: Any) -> tuple[int, ...]:
        if not isinstance(data, list):
            self.fail("invalid")
        if len(data) > MAX_TOKENS:
            self.fail("many", most=MAX_TOKENS)
        ids = token_ids(data)
        return self.fail("invalid") if ids is None else ids


class DetokenizeRequestSerializer(_RequestSerializer):
    """Tokens."""

    tokens = TokensField(help_text="The ids.")


class DetokenizeResponseSerializer(serializers.Serializer[Any]):
    """The text."""

    prompt = serializers.CharField(help_text="The text of the tokens, that of special ones included.")


class _TokensView(OpenAIView):
    scope = Scope.MODELS
    counts_refusals = True

    def _count(self) -> None:
        """Count the request before the work.

        Raises:
            LimitExceeded: the key has no request left.
        """
        self.counts_refusals = False  # what is refused from here on has been counted
        unreserved.count(self.key, Outcome.FINISHED)


class TokenizeView(_TokensView):
    """Tokenises a prompt or a chat."""

    prompt_fields = ("messages", "prompt")

    @extend_schema(
        operation_id="tokenize",
        tags=["OpenAI"],
        summary="Tokenise a prompt or a chat",
        description=(
            "Returns the tokens that the model would read. It uses one of the key's requests a minute, "
            "and no tokens."
        ),
        request=OpenApiRequest(
            TokenizeRequestSerializer,
            examples=[
                OpenApiExample("Text", {"model": SERVED_MODEL, "prompt": "The capital"}, request_only=True),
            ],
        ),
        responses={
            200: OpenApiResponse(
                TokenizeResponseSerializer,
                description="The tokens.",
                examples=[
                    OpenApiExample(
                        "Text",
                        {"count": 2, "max_model_len": 1024, "tokens": [464, 3139], "token_strs": None},
                    )
                ],
            ),
            **errors(*ERRORS),
        },
    )
    def post(self, request: Request) -> Response:
        fields, backend = validated(TokenizeRequestSerializer(data=request.data), self.key)
        self._count()
        if fields["messages"] is None:
            special = fields["add_special_tokens"]
            tokens = backend.encode(fields["prompt"], special_tokens=special is None or special)
        else:
            tokens = backend.encode(_chat(fields, backend))
        strings = (
            [token_text(backend.token_bytes(i)) for i in tokens] if fields["return_token_strs"] else None
        )
        return Response(
            {
                "count": len(tokens),
                "max_model_len": backend.context_length,
                "tokens": tokens,
                "token_strs": strings,
            }
        )


class DetokenizeView(_TokensView):
    """Turns tokens into text."""

    @extend_schema(
        operation_id="detokenize",
        tags=["OpenAI"],
        summary="Turn tokens into text",
        description="Returns the text of tokens. It uses one of the key's requests a minute, and no tokens.",
        request=OpenApiRequest(
            DetokenizeRequestSerializer,
            examples=[
                OpenApiExample("Tokens", {"model": SERVED_MODEL, "tokens": [464, 3139]}, request_only=True)
            ],
        ),
        responses={
            200: OpenApiResponse(
                DetokenizeResponseSerializer,
                description="The text.",
                examples=[OpenApiExample("Text", {"prompt": "The capital"})],
            ),
            **errors(*ERRORS),
        },
    )
    def post(self, request: Request) -> Response:
        fields, backend = validated(DetokenizeRequestSerializer(data=request.data), self.key)
        self._count()
        text = b"".join(_bytes_of(token_id, backend) for token_id in fields["tokens"])
        return Response({"prompt": text.decode(errors="replace")})


def _chat(fields: dict[str, Any], backend: Backend) -> Chat:
    use = tool_use({**fields, "grammar": None, "parallel_tool_calls": None}, backend.tool_format)
    chat = conversation(fields["messages"], use, backend.tool_format)
    begins, continues = fields["add_generation_prompt"], fields["continue_final_message"]
    if begins is None and continues is None:
        return chat
    return replace(
        chat,
        continue_final_message=bool(continues),
        add_generation_prompt=not continues if begins is None else begins,
    )


def _characters(fields: dict[str, Any]) -> int:
    """Of what the chat template is given."""
    messages = fields["messages"]
    contents = sum(len(message["content"]) + len(message.get("name", "")) for message in messages)
    calls = [call["function"] for message in messages for call in message.get("tool_calls", ())]
    tools = [tool.as_sent() for tool in fields["tools"] or ()]
    return contents + sum(len(json.dumps(one, ensure_ascii=False)) for one in (*calls, *tools))


def _bytes_of(token_id: int, backend: Backend) -> bytes:
    token = backend.token_bytes(token_id) if token_id >= 0 else b""
    if not token:
        raise serializers.ValidationError({"tokens": f"This model has no token {token_id}."})
    return token
