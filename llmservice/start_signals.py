"""What ends a start: SIGTERM and Ctrl-C, also in a container, until the server handles signals itself."""

import os
import signal
import sys
from types import FrameType


def end_on_signals() -> None:
    """Have SIGTERM and SIGINT end this process without a trace; ignored ones stay ignored.

    The system does not apply SIGTERM's usual effect to a container's first process: without a handler, it
    would run on until it is killed.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    # A shell's status for a process that a signal has ended.
    status = 128 + number
    if sys.is_finalizing():
        os._exit(status)
    sys.exit(status)
