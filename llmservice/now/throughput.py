"""How many tokens a second this worker has generated lately."""

import threading
import time
from collections import deque

WINDOW_S = 10.0


class Throughput:
    """A rate over the last `WINDOW_S`, from a total that is observed now and then, from any thread."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()
        self._lock = threading.Lock()

    def observe(self, total: int, *, now: float | None = None) -> None:
        """The total is this now (`time.monotonic`); a smaller one than before restarts the window."""
        now = time.monotonic() if now is None else now
        with self._lock:
            if self._samples and total < self._samples[-1][1]:
                self._samples.clear()
            self._samples.append((now, total))
            # One sample that is older stays, so that the rate is that of the whole window.
            while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW_S:
                self._samples.popleft()

    @property
    def per_s(self) -> float | None:
        """The rate; None before two observations at different times."""
        with self._lock:
            if len(self._samples) < 2:
                return None
            (first, before), (last, total) = self._samples[0], self._samples[-1]
            return (total - before) / (last - first) if last > first else None


COMPLETION = Throughput()
"""The completion tokens of this worker."""
