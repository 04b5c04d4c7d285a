"""What becomes known about a request while it is answered, for its log line and the metrics.

The logging configuration imports this module, so it must not import Django.
"""

import time
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from llmservice.http.trace_context import TraceContext

AttributeValue = str | int | float | bool | Sequence[str]


class RecordedSpan(Protocol):
    """The span of a request, which is open until the request has been answered."""

    def describe(self, name: str, attributes: Mapping[str, AttributeValue]) -> None:
        """Name the span, and add attributes."""
        ...

    def stage(
        self, name: str, began_at: float, ended_at: float, attributes: Mapping[str, AttributeValue]
    ) -> None:
        """Add a part of the request, with its times in seconds of `time.monotonic`."""
        ...


@dataclass(kw_only=True)
class RequestRecord:
    """Filled in step by step; a field that stays None does not apply.

    Attributes:
        id: the client's own `X-Request-ID`, or a random one.
        address: where it came from.
        route: the pattern that its path fits, without what varies.
        key_id: the number of the API key whose secret was sent, accepted or not.
        reason: the code of the problem, if it was refused or failed.
        outcome: how its generation ended.
        cached_tokens: those of its prompt that did not have to be computed.
        queued_s, first_token_s, between_tokens_s, generated_s: of its generation.
        trace: the trace that it belongs to; what it asks of other services belongs to the span there.
        span: its own span; None while nothing is recorded.
    """

    id: str
    method: str
    path: str
    address: str = ""
    started: float = field(default_factory=time.monotonic)
    route: str | None = None
    key_id: int | None = None
    status: int = 500
    reason: str | None = None
    outcome: str | None = None
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    queued_s: float | None = None
    first_token_s: float | None = None
    between_tokens_s: float | None = None
    generated_s: float | None = None
    prompt: str | None = None
    trace: TraceContext | None = None
    span: RecordedSpan | None = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the request arrived."""
        return time.monotonic() - self.started


_current: ContextVar[RequestRecord | None] = ContextVar("request_record", default=None)


def current() -> RequestRecord | None:
    """The record of the request that this thread answers; None if it answers none."""
    return _current.get()


def begin(record: RequestRecord) -> None:
    """Make this the request that the thread answers."""
    _current.set(record)


def end() -> None:
    """The thread has answered its request."""
    _current.set(None)
