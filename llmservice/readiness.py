"""Which workers can generate, as all processes of one service see it.

A worker that can generate holds a lock on a byte of a file that all of them inherit. The kernel releases the
lock when the process ends, however it ends, so a dead worker never counts.

gunicorn's master process imports this module, so it must import neither Django nor torch.
"""

import fcntl
import os
import struct
from collections.abc import Callable

# `struct flock` of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = "hhqqi0q"
_WHOLE_FILE = 0


class Readiness:
    """The readiness of a service's workers; created in the master process, inherited by the workers.

    A worker's `slot` is a number that no other living worker has. One thread of a process declares.
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("llmservice-ready")
        self._declared = False

    def declare(self, slot: int, *, ready: bool) -> None:
        """Tell the other processes whether this one, the worker of `slot`, can generate."""
        if ready != self._declared:
            fcntl.lockf(self._file, fcntl.LOCK_EX if ready else fcntl.LOCK_UN, 1, slot)
            self._declared = ready

    def is_ready(self, slot: int) -> bool:
        """Whether another process, the worker of `slot`, can generate."""
        return self._is_held(slot, 1)

    def any_other_is_ready(self) -> bool:
        """Whether any other process can generate."""
        return self._is_held(0, _WHOLE_FILE)

    def _is_held(self, start: int, length: int) -> bool:
        # Only asks: a process that took the lock to find out would look ready to the others meanwhile.
        wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        kind, *_ = struct.unpack(_FLOCK, fcntl.fcntl(self._file, fcntl.F_GETLK, wanted))
        return bool(kind != fcntl.F_UNLCK)


WORKERS = Readiness()


_ask: Callable[[], bool] | None = None


def ask(can_generate: Callable[[], bool]) -> None:
    """Have this worker ask `can_generate` whether it can; until then, it can."""
    global _ask
    _ask = can_generate


def can_generate() -> bool:
    """Whether this process, a worker, can generate now."""
    return _ask is None or _ask()


def may_accept(slot: int) -> bool:
    """Whether this process, the worker of `slot`, should accept connections now; declares its readiness.

    A worker that cannot generate leaves connections to those that can. While none can, it accepts them as
    well, so that `/health` is answered. To be asked before each `accept`, and again at least every second.
    """
    ready = can_generate()
    WORKERS.declare(slot, ready=ready)
    return ready or not WORKERS.any_other_is_ready()
