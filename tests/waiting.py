"""Waiting for what another thread or process does."""

import threading
from collections.abc import Callable


def wait_for(condition: Callable[[], bool], *, most_s: float = 60) -> None:
    """Return once the condition holds; fails where it never does."""
    tick = threading.Event()
    for _ in range(round(most_s * 50)):
        if condition():
            return
        tick.wait(0.02)
    raise AssertionError("It has not come about.")
