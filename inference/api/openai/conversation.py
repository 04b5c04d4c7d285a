"""A conversation, and how to continue it, as a request that the backend has prepared."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django.conf import settings

from inference.api.openai.messages import as_chat
from inference.api.openai.sampling import generation_requests
from inference.engine.backend import Backend
from inference.engine.request import PreparedRequest


def conversation_request(
    messages: tuple[Mapping[str, object], ...],
    fields: dict[str, Any],
    *,
    backend: Backend,
    max_new_tokens: int | None,
    logprobs: int | None,
    owner: str,
) -> PreparedRequest:
    """The request of a body; it continues the last message if that is the assistant's.

    Args:
        fields: how to generate, as `SamplingSerializer` has validated it.
        max_new_tokens: None takes what the context and `LLM_MAX_NEW_TOKENS` allow.

    Raises:
        EmptyPrompt, TokenWithoutEmbedding, PromptTooLong, InvalidChat: it can never be generated.
    """
    [request] = generation_requests(
        [as_chat(messages)],
        fields,
        max_new_tokens=max_new_tokens or 1,
        logprobs=logprobs,
        owner=owner,
    )
    prepared = backend.prepare(request)
    if max_new_tokens is not None:
        return prepared
    most = min(settings.LLM_MAX_NEW_TOKENS, backend.context_length - prepared.prompt_tokens)
    return replace(prepared, request=replace(prepared.request, max_new_tokens=most))
