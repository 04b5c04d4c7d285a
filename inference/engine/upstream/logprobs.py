"""Log-probabilities in an upstream engine's answer; the ids of tokens are mostly not told."""

from collections.abc import Mapping, Sequence
from typing import Any

from inference.engine.logprobs import TokenLogprob, TokenLogprobs

UNKNOWN_ID = -1
_BYTES = "bytes:"


def of_chat(content: Sequence[Mapping[str, Any]]) -> tuple[TokenLogprobs, ...]:
    """Those of a chat's choice."""
    return tuple(
        _with_alternatives(_chat_entry(entry), [_chat_entry(one) for one in entry.get("top_logprobs") or ()])
        for entry in content
    )


def of_completion(logprobs: Mapping[str, Any]) -> tuple[TokenLogprobs, ...]:
    """Those of a completion's choice: lists of tokens, their values, and the most likely ones."""
    tops = logprobs.get("top_logprobs") or [None] * len(logprobs["tokens"])
    return tuple(
        _with_alternatives(
            _entry(token, value), [_entry(text, one) for text, one in (alternatives or {}).items()]
        )
        for token, value, alternatives in zip(
            logprobs["tokens"], logprobs["token_logprobs"], tops, strict=True
        )
    )


def token_bytes(text: str) -> bytes:
    r"""The bytes of a token written as a string, as `bytes:\xf0\x9f` if it is not whole characters."""
    if text.startswith(f"{_BYTES}\\x"):
        try:
            return bytes.fromhex(text.removeprefix(_BYTES).replace("\\x", ""))
        except ValueError:
            pass
    return text.encode(errors="replace")


def _chat_entry(entry: Mapping[str, Any]) -> TokenLogprob:
    raw = entry.get("bytes")
    known = bytes(raw) if raw is not None else token_bytes(entry["token"])
    return TokenLogprob(UNKNOWN_ID, known, float(entry["logprob"]))


def _entry(text: str, value: float) -> TokenLogprob:
    return TokenLogprob(UNKNOWN_ID, token_bytes(text), float(value))


def _with_alternatives(token: TokenLogprob, top: Sequence[TokenLogprob]) -> TokenLogprobs:
    greedy = not top or token.logprob >= top[0].logprob
    return TokenLogprobs(token.token_id, token.token, token.logprob, greedy=greedy, top=tuple(top))
