"""A contender in a process of its own (`benchmarks.worker`), loaded once and measured many times."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.contenders import Entry
from benchmarks.workload import CannotRun, NotHere, Timing, Workload

ROOT = Path(__file__).resolve().parent.parent


class ContenderProcess:
    """Starts loading at once; `wait_ready` waits until it is ready.

    Args:
        folder: the model's; conversions of the model and the log go beside it.

    Attributes:
        versions: of the contender's packages, once it is ready.
        path: how it computes on this machine, once it is ready.
    """

    def __init__(self, entry: Entry, folder: Path, *, threads: int) -> None:
        self.entry = entry
        self.versions: dict[str, str] = {}
        self.path = ""
        python = sys.executable if entry.environment is None else str(entry.environment / "bin" / "python")
        if not Path(python).exists():
            raise NotHere(f"{python} does not exist.")
        self.log = folder.with_name(f"{folder.name}-{entry.module}-{entry.precision}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [python, "-m", "benchmarks.worker", entry.module, entry.precision, str(folder), str(threads)],
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def wait_ready(self) -> None:
        """Wait until it is loaded and warm.

        Raises:
            NotHere: it cannot run on this machine.
        """
        answer = self._answer()
        if "not_here" in answer:
            self.close()
            raise NotHere(answer["not_here"])
        self.versions, self.path = answer["versions"], answer["path"]

    def run(self, workload: Workload) -> Timing:
        """Run the workload.

        Raises:
            CannotRun: it cannot run this workload.
            NotHere: its process ended; its log says why.
        """
        answer = self._ask(asdict(workload))
        if "cannot_run" in answer:
            raise CannotRun(answer["cannot_run"])
        return Timing(**answer)

    def surprises(self, texts: list[list[int]]) -> list[float]:
        """-ln p of every token but the first of each text, in turn.

        Raises:
            NotHere: its process ended; its log says why.
        """
        found: list[float] = self._ask({"texts": texts})["surprises"]
        return found

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None  # noqa: S101
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError as error:
            raise self._ended() from error
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None  # noqa: S101
        line = self.process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ended(self) -> NotHere:
        return NotHere(f"its process ended with status {self.process.wait()}; {self.log} says why.")
