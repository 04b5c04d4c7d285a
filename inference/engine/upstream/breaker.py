"""Keeps requests from an engine that does not answer (circuit breaker, Nygard, "Release It!")."""

import threading
from collections.abc import Callable
from enum import StrEnum

from inference.engine.upstream.config import LONGEST_PAUSE_S


class BreakerState(StrEnum):
    CLOSED = "closed"
    """Requests pass."""
    OPEN = "open"
    """None passes, and the engine is left alone for a while."""
    HALF_OPEN = "half-open"
    """None passes but one probe, which decides."""


class Breaker:
    """Opens after failures in a row; after a pause one probe decides whether it closes or waits for longer.

    Safe to use from any thread.

    Args:
        failures: how many in a row open it.
        pause_s: seconds until the first probe; each probe that fails doubles them.
        clock: seconds that only increase.
    """

    def __init__(self, *, failures: int, pause_s: float, clock: Callable[[], float]) -> None:
        self._most_failures = failures
        self._first_pause_s = pause_s
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._state = BreakerState.CLOSED
        self._pause_s = pause_s
        self._opened_at = 0.0
        self._failed_at = float("-inf")
        self._reason = ""

    @property
    def state(self) -> BreakerState:
        return self._state

    @property
    def reason(self) -> str:
        """The failure that opened it; empty while it is closed."""
        return "" if self._state is BreakerState.CLOSED else self._reason

    @property
    def probe_in_s(self) -> float:
        """The seconds until a probe may be sent; 0 while it is closed."""
        with self._lock:
            if self._state is BreakerState.CLOSED:
                return 0.0
            return max(0.0, self._opened_at + self._pause_s - self._clock())

    def succeeded(self) -> None:
        """The engine has answered."""
        with self._lock:
            self._failures = 0
            self._state = BreakerState.CLOSED
            self._pause_s = self._first_pause_s

    def failed(self, reason: str, *, began_at: float | None = None, at_once: bool = False) -> bool:
        """The engine has not answered; returns whether this opens the breaker.

        Args:
            began_at: when the attempt began. One under way at the failure before does not count: where
                a balancer loses one of its engines, many attempts break at once, and the next one succeeds.
            at_once: no further failure is needed to open it.
        """
        with self._lock:
            before, self._failed_at = self._failed_at, self._clock()
            if began_at is not None and began_at <= before and not at_once:
                return False
            self._failures += 1
            if self._state is BreakerState.OPEN:
                return False  # a request that began before
            if self._state is BreakerState.HALF_OPEN:
                self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
            elif not at_once and self._failures < self._most_failures:
                return False
            self._state, self._opened_at, self._reason = BreakerState.OPEN, self._clock(), reason
            return True

    def begin_probe(self) -> bool:
        """Whether the caller is to send the probe, and tell how it went."""
        with self._lock:
            if self._state is not BreakerState.OPEN or self._clock() < self._opened_at + self._pause_s:
                return False
            self._state = BreakerState.HALF_OPEN
            return True
