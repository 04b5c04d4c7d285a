"""Memory and descriptors of a service over time."""

import statistics
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process_memory import family, resident_bytes

_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What all processes of the service hold together at one time of the monotonic clock."""

    at: float
    memory_bytes: int
    descriptors: int


class Watch:
    """Samples a process and its descendants every second until it is stopped."""

    def __init__(self, pid: int) -> None:
        self.samples: list[Sample] = []
        self._pid = pid
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more samples."""
        self._end.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> tuple[float, float]:
        """The medians of memory in MB and of descriptors between two times of the monotonic clock."""
        found = [sample for sample in self.samples if begin <= sample.at <= end]
        memory = statistics.median(sample.memory_bytes for sample in found) / 1e6
        return memory, statistics.median(sample.descriptors for sample in found)

    def _run(self) -> None:
        while not self._end.wait(_EVERY_S):
            pids = family(self._pid)
            self.samples.append(
                Sample(
                    at=time.monotonic(),
                    memory_bytes=sum(map(resident_bytes, pids)),
                    descriptors=sum(map(_descriptors, pids)),
                )
            )


def _descriptors(pid: int) -> int:
    try:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return 0
