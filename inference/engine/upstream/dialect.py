"""What the known engines take and tell beyond OpenAI's API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

GrammarForm = Literal["structured_outputs", "sglang", "llamacpp", "response_format"]

_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """One engine's variant of OpenAI's API.

    Attributes:
        fields: the fields of `SamplingParams` and `GenerationRequest` that OpenAI's API does not have, with
            the engine's name for each.
        grammars: how a request says what its text must fit.
        usage_in_chunks: each chunk of a stream can have the usage so far.
        token_ids: each chunk can have the ids of its tokens.
        tokenizes: it has `/tokenize` in vLLM's form: for texts, and for conversations as well.
        counted_tool_fields: the fields about tools that `/tokenize` takes for a conversation; none where it
            does not count tools.
        continues: how a conversation asks for the assistant's last message to be continued.
        cache_salt: requests with different salts share no prefix cache.
        max_tokens: what chats call the most tokens to generate.
    """

    name: str
    fields: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    grammars: GrammarForm = "response_format"
    usage_in_chunks: bool = False
    token_ids: bool = False
    tokenizes: Literal["no", "texts", "chats"] = "no"
    counted_tool_fields: tuple[str, ...] = ()
    continues: Literal["by itself", "by a field", "no"] = "no"
    cache_salt: bool = False
    max_tokens: str = "max_tokens"


def _same(*names: str) -> Mapping[str, str]:
    return MappingProxyType({name: name for name in names})


_SAMPLING = ("top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos")

OPENAI = Dialect(name="openai", max_tokens="max_completion_tokens")

LLMSERVICE = Dialect(
    name="llmservice",
    fields=_same(*_SAMPLING),
    grammars="structured_outputs",
    usage_in_chunks=True,
    token_ids=True,
    tokenizes="chats",
    counted_tool_fields=("tools", "tool_choice"),
    continues="by itself",
)

VLLM = Dialect(
    name="vllm",
    fields=_same(*_SAMPLING),
    grammars="structured_outputs",
    usage_in_chunks=True,
    token_ids=True,
    tokenizes="chats",
    counted_tool_fields=("tools",),
    continues="by a field",
    cache_salt=True,
)

SGLANG = Dialect(
    name="sglang",
    fields=_same(*_SAMPLING),
    grammars="sglang",
    usage_in_chunks=True,
    tokenizes="texts",
    continues="by a field",
)

LLAMACPP = Dialect(
    name="llamacpp",
    fields=MappingProxyType(
        {
            "top_k": "top_k",
            "min_p": "min_p",
            "repetition_penalty": "repeat_penalty",
            "ignore_eos": "ignore_eos",
        }
    ),
    grammars="llamacpp",
    continues="by itself",
)

DIALECTS: Mapping[str, Dialect] = {
    dialect.name: dialect for dialect in (OPENAI, LLMSERVICE, VLLM, SGLANG, LLAMACPP)
}


def dialect_of(owner: object) -> Dialect:
    """The dialect of an engine that lists its models as owned by `owner`; an unknown one's is OpenAI's."""
    return DIALECTS.get(owner, OPENAI) if isinstance(owner, str) else OPENAI
