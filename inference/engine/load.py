"""How busy a backend is, and what it has computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
class PrefixWork:
    """What the prefix cache has done since the start.

    Attributes:
        hits: how many requests found their first tokens.
        tokens: how many tokens did not have to be computed, because they were found.
        evictions: how many blocks were given up because their memory was needed.
    """

    hits: int = 0
    tokens: int = 0
    evictions: int = 0


RESULTS = ("answered", "failed", "overloaded", "refused", "silent", "unavailable")
"""How an attempt at an upstream engine can end."""


@dataclass(frozen=True, kw_only=True)
class UpstreamWork:
    """What has been attempted at an upstream engine since the start.

    Attributes:
        attempts: how many have ended, by their result.
        retries: how many of them were not the first for their request.
    """

    attempts: Mapping[str, int] = field(default_factory=dict)
    retries: int = 0


@dataclass(frozen=True, kw_only=True)
class Work:
    """What has been computed since the start.

    Attributes:
        steps: forward passes.
        segments: the sequences in each of them, added up; `segments / steps` is the mean batch size.
        completion_tokens: generated tokens, those of running requests included.
        drafted: tokens that were computed as guesses of what follows.
        accepted: of those, the ones that did follow, each without a step of its own.
        preemptions: how often a request had to give its blocks of the KV cache up to another.
        prefixes: what the prefix cache has done.
        upstream: what has been attempted at another engine, if that generates.
    """

    steps: int = 0
    segments: int = 0
    completion_tokens: int = 0
    drafted: int = 0
    accepted: int = 0
    preemptions: int = 0
    prefixes: PrefixWork = PrefixWork()
    upstream: UpstreamWork = UpstreamWork()
