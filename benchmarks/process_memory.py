"""Resident memory of processes that no file backs: anonymous memory, and shared memory (packed weights).

Read from `/proc`, so on Linux only. A page that several processes map counts once, divided among them.
"""

import os
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY_S = 0.02
_PAUSES = 20
"""A process waits while the kernel counts its pages, so a pause is at least this many times as long."""


def resident_bytes(pid: int) -> int:
    """Anonymous and shared memory of one process; 0 once it has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:")))


def cpu_seconds(pid: int) -> float:
    """CPU time of one process and of its children that have ended; 0 once it has ended itself."""
    try:
        times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    except OSError:
        return 0.0
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            for task in tasks:
                found.extend(int(child) for child in (task / "children").read_text().split())
        except OSError:
            continue
    return found


class PeakMemory:
    """Watches a process and its children while the block runs.

    Attributes:
        peak_bytes: the highest total, sampled every 20 ms, or less often where that takes more than 1 ms, and
            at the end.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now_bytes(self) -> int:
        return sum(resident_bytes(pid) for pid in family(self._pid))

    def _watch(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self.peak_bytes = max(self.peak_bytes, self.now_bytes())
            time.sleep(max(_EVERY_S, _PAUSES * (time.monotonic() - began)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.peak_bytes = max(self.peak_bytes, self.now_bytes())
