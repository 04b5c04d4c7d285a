"""How busy a backend is."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests, and the tokens that the KV cache holds and can hold."""

    queued: int
    running: int
    kv_tokens: int
    kv_tokens_used: int
