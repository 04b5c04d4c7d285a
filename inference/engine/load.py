"""How busy a backend is, and what it has computed."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OwnerLoad:
    """The requests of one owner; those preempted wait as well."""

    queued: int
    running: int


@dataclass(frozen=True, kw_only=True)
class Load:
    """How busy it is now.

    Attributes:
        queued: requests that wait, those preempted included.
        preempted: of those, the ones that ran already and wait for blocks of the KV cache.
        running: requests that each step computes.
        kv_tokens, kv_tokens_used: tokens for which the KV cache has blocks, and those of the blocks in use.
        owners: requests by owner.
    """

    queued: int
    preempted: int
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
        preemptions: how often a request had to give its blocks of the KV cache up to another.
    """

    steps: int = 0
    segments: int = 0
    completion_tokens: int = 0
    preemptions: int = 0
