"""A conversation, and how to continue it, as a request that the backend has prepared."""

from dataclasses import replace
from typing import Any

from django.conf import settings

from accounts.models import APIKey
from inference import preparing
from inference.api.openai.sampling import generation_requests
from inference.engine.backend import Backend
from inference.engine.grammar.source import Grammar
from inference.engine.request import Chat, PreparedRequest


def conversation_request(
    chat: Chat,
    fields: dict[str, Any],
    *,
    backend: Backend,
    max_new_tokens: int | None,
    logprobs: int | None,
    key: APIKey,
    grammar: Grammar | None = None,
) -> PreparedRequest:
    """The request of a body.

    Args:
        fields: how to generate, as `SamplingSerializer` has validated it.
        max_new_tokens: None takes what the context and `LLM_MAX_NEW_TOKENS` allow.
        grammar: what the answer is held to.

    Raises:
        EmptyPrompt, TokenWithoutEmbedding, PromptTooLong, InvalidChat, InvalidGrammar: it can never be
            generated.
        LimitExceeded: the key has no request left.
    """
    [request] = generation_requests(
        [chat],
        fields,
        max_new_tokens=max_new_tokens or 1,
        logprobs=logprobs,
        owner=str(key.pk),
    )
    prepared = preparing.prepared(
        replace(request, grammar=grammar or request.grammar), key=key, backend=backend
    )
    if max_new_tokens is not None:
        return prepared
    # At least one: what another server's prompt has is an estimate at times.
    most = max(1, min(settings.LLM_MAX_NEW_TOKENS, backend.context_length - prepared.prompt_tokens))
    return replace(prepared, request=replace(prepared.request, max_new_tokens=most))
