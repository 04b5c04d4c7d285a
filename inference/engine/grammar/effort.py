"""How long this thread has kept a CPU busy."""

import threading
import time

_NEWEST_S = 0.01


class Effort(threading.local):
    """Tells whether something has kept a CPU busy for long; a busy machine that makes it wait does not count.

    To ask the kernel for a thread's time on a CPU takes longer than most of what is measured, so it is asked
    only where the clock leaves room for doubt.
    """

    def __init__(self) -> None:
        self._began_s = self._asked_s = -_NEWEST_S
        self._cpu_s = 0.0

    def begin(self) -> None:
        """What follows is measured."""
        self._began_s = time.perf_counter()
        if self._began_s - self._asked_s >= _NEWEST_S:
            self._ask()

    def exceeds(self, limit_s: float) -> bool:
        """Whether it has computed for longer than the limit since; certainly if 20 ms longer."""
        if time.perf_counter() - self._began_s <= limit_s:
            return False
        before_s = self._cpu_s
        self._ask()
        return self._cpu_s - before_s > limit_s + _NEWEST_S

    def _ask(self) -> None:
        self._cpu_s = time.thread_time()
        self._asked_s = time.perf_counter()
