"""How busy a backend is, and what it has computed."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OwnerLoad:
    """The requests of one owner."""

    queued: int
    running: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """Requests now, all and by owner, and the tokens that the KV cache holds and can hold."""

    queued: int
    running: int
    kv_tokens: int
    kv_tokens_used: int
    owners: Mapping[str, OwnerLoad]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What has been computed since the start.

    Attributes:
        steps: forward passes.
        segments: the sequences in each of them, added up; `segments / steps` is the mean batch size.
        completion_tokens: generated tokens, those of running requests included.
    """

    steps: int = 0
    segments: int = 0
    completion_tokens: int = 0
