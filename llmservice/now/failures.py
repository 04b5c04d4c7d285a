"""The last requests that this worker failed to answer as asked, kept in memory."""

from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime

from accounts.models import Outcome
from llmservice.http.request_record import RequestRecord

KEPT = 20
# A stream has sent its status before it fails.
FAILED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.OVERLOADED})
# It answers 503 every few seconds while the model is loading.
LEFT_OUT = frozenset({"/ready"})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A request that failed; the fields are those of its `RequestRecord`."""

    at: datetime
    method: str
    route: str | None
    status: int
    reason: str | None
    key_id: int | None
    request_id: str


_last: deque[Failure] = deque(maxlen=KEPT)


def note(record: RequestRecord) -> None:
    """Keep a request that has been answered, if it failed."""
    if (record.status < 500 and record.outcome not in FAILED) or record.route in LEFT_OUT:
        return
    _last.append(
        Failure(
            at=datetime.now(UTC),
            method=record.method,
            route=record.route,
            status=record.status,
            reason=record.reason or record.outcome,
            key_id=record.key_id,
            request_id=record.id,
        )
    )


def last() -> list[Failure]:
    """The newest first."""
    return [*reversed(_last)]
