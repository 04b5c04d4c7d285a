"""How the attempts at the upstream engine went, since the start."""

import threading
from collections import Counter, deque

from inference.engine.errors import Overloaded, Unavailable, UpstreamRefused, UpstreamSilent
from inference.engine.load import UpstreamWork
from inference.engine.upstream.answers import Failure

# The figures are taken once a second; more answers than this do not begin meanwhile.
_KEPT_TIMES = 10_000


class UpstreamFigures:
    """Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: Counter[str] = Counter()
        self._retries = 0
        self._first_byte_s: deque[float] = deque(maxlen=_KEPT_TIMES)

    @property
    def work(self) -> UpstreamWork:
        """What has been attempted."""
        with self._lock:
            return UpstreamWork(attempts=dict(self._attempts), retries=self._retries)

    def answered(self) -> None:
        """An attempt brought a whole answer."""
        self._count("answered")

    def failed(self, failure: Failure) -> None:
        """An attempt failed."""
        match failure.error:
            case Overloaded():
                self._count("overloaded")
            case UpstreamSilent():
                self._count("silent")
            case UpstreamRefused():
                self._count("refused")
            case Unavailable():
                self._count("unavailable")
            case _:
                self._count("failed")

    def retried(self) -> None:
        """A further attempt begins for a request."""
        with self._lock:
            self._retries += 1

    def first_byte(self, seconds: float) -> None:
        """The answer to an attempt has begun."""
        self._first_byte_s.append(seconds)

    def take_first_byte_s(self) -> list[float]:
        """The times of the answers that have begun since the last call."""
        return [self._first_byte_s.popleft() for _ in range(len(self._first_byte_s))]

    def _count(self, result: str) -> None:
        with self._lock:
            self._attempts[result] += 1
