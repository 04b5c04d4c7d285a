"""A request in the upstream engine's terms: an explicit list of fields, and a refusal of all others."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any

from inference.engine.errors import UpstreamRefused
from inference.engine.request import Chat, GenerationRequest
from inference.engine.upstream.chat import calls_of, chat_fields, tool_fields
from inference.engine.upstream.dialect import Dialect
from inference.engine.upstream.grammars import grammar_fields

# What a field that OpenAI's API does not have must be where the engine does not have it either.
_NEUTRAL: dict[str, Any] = {
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "min_tokens": 0,
    "stop_token_ids": (),
    "ignore_eos": False,
}
_OF_SAMPLING = ("top_k", "min_p", "repetition_penalty")


@dataclass(frozen=True)
class Call:
    """One call of the engine: the path under its `/v1`, and the body."""

    path: str
    body: dict[str, Any]


def call_of(request: GenerationRequest, dialect: Dialect, *, model: str, salt_key: bytes) -> Call:
    """The call that streams the text of the request.

    Raises:
        UpstreamRefused: the request has a field that cannot be passed on; the message names it.
    """
    _check(request, dialect)
    chat = request.prompt if isinstance(request.prompt, Chat) else None
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": sampling.temperature if sampling.do_sample else 0,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": sampling.seed,
        dialect.max_tokens if chat else "max_tokens": request.max_new_tokens,
        **_engine_fields(request, dialect),
    }
    if dialect.usage_in_chunks:
        body["stream_options"]["continuous_usage_stats"] = True
    if dialect.token_ids:
        body["return_token_ids"] = True
    if request.stop:
        body["stop"] = list(request.stop)
    if sampling.logit_bias:
        body["logit_bias"] = {str(token_id): bias for token_id, bias in sampling.logit_bias}
    if dialect.cache_salt:
        body["cache_salt"] = salt_of(request.owner, salt_key) if request.kept else secrets.token_hex()
    calls = calls_of(request.grammar)
    grammar = request.grammar if calls is None else calls.text
    if grammar is not None:
        body |= grammar_fields(grammar, dialect.grammars, chat=chat is not None)
    if chat is None:
        prompt = request.prompt
        body["prompt"] = prompt if isinstance(prompt, str) else list(prompt)  # type: ignore[arg-type]
        if request.logprobs is not None:
            body["logprobs"] = request.logprobs
        return Call("completions", body)
    body |= chat_fields(chat, dialect) | tool_fields(chat, calls)
    if request.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    return Call("chat/completions", body)


def salt_of(owner: str, salt_key: bytes) -> str:
    """The salt of the owner's prefix cache: nobody who does not know the key of salts can guess it."""
    return hashlib.blake2b(owner.encode(), key=salt_key[:64], digest_size=32).hexdigest()


def _check(request: GenerationRequest, dialect: Dialect) -> None:
    if request.prompt_logprobs is not None:
        raise _not_passed_on("prompt_logprobs", "the log-probabilities of a prompt")
    if request.max_new_tokens < 1:
        raise _not_passed_on("max_tokens", "no new tokens")
    if request.token_ids and not dialect.token_ids:
        raise _not_passed_on("return_token_ids", "token ids")


def _engine_fields(request: GenerationRequest, dialect: Dialect) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, neutral in _NEUTRAL.items():
        of_sampling = name in _OF_SAMPLING
        value = getattr(request.sampling if of_sampling else request, name)
        if name in ("top_k", "min_p") and not request.sampling.do_sample:
            value = neutral
        if name in dialect.fields:
            # Also the neutral value: an engine may have defaults of its own.
            fields[dialect.fields[name]] = list(value) if isinstance(value, tuple) else value
        elif value != neutral:
            raise _not_passed_on(name, f"this field; leave it out or send {neutral!r}")
    return fields


def _not_passed_on(field: str, what: str) -> UpstreamRefused:
    return UpstreamRefused(f"{field}: the engine behind this service does not support {what}.", field=field)
