"""What becomes known about a request while it is answered, for its log line and the metrics.

The logging configuration imports this module, so it must not import Django.
"""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field


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
