"""Resident anonymous memory of processes, which excludes mapped files.

Read from `/proc`, so on Linux only. Pages shared after a fork count in each process.
"""

import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_EVERY_S = 0.02


def anonymous_bytes(pid: int) -> int:
    """RssAnon of one process; 0 once it has ended."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


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
        peak_bytes: the highest total, sampled every 20 ms.
    """

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now_bytes(self) -> int:
        return sum(anonymous_bytes(pid) for pid in family(self._pid))

    def _watch(self) -> None:
        while not self._over.is_set():
            self.peak_bytes = max(self.peak_bytes, self.now_bytes())
            time.sleep(_EVERY_S)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
