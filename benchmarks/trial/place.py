"""What a trial is given, and how it is declared."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.http.servers import Server, llmservice


class Failed(Exception):
    """The trial's expectation did not hold; the message says what was seen instead."""


@dataclass
class Place:
    """Where a trial starts its services.

    Attributes:
        model: the folder of the model to serve.
        folder: an empty folder of the trial's own.
        seconds: how long what has a length lasts.
        postgres: the URL of a server whose user may create databases, if there is one.
        seen: figures for the table, in the order in which they were measured.
    """

    model: Path
    folder: Path
    seconds: float = 60
    postgres: str | None = None
    seen: list[str] = field(default_factory=list)

    @contextmanager
    def service(self, **settings: str) -> Iterator[Server]:
        """A service that is ready, with these environment variables; it is ended at the end."""
        with llmservice(self.model, self.folder, threads=1, **settings) as server:
            server.wait_ready()
            yield server

    def note(self, text: str) -> None:
        """Add a figure to the table."""
        self.seen.append(text)

    def check(self, holds: bool, text: str) -> None:
        """Add a figure to the table that the trial depends on.

        Raises:
            Failed: it does not hold.
        """
        if not holds:
            raise Failed(text)
        self.note(text)


Trial = Callable[[Place], None]

trials: dict[str, Trial] = {}


def trial(function: Trial) -> Trial:
    """Declare a trial: its name is that of the function, and its docstring says what is right."""
    trials[function.__name__.replace("_", "-")] = function
    return function


def allow_descriptors(count: int) -> None:
    """Let this process open that many files.

    Raises:
        Failed: the system does not allow it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        if hard < count:
            raise Failed(f"a process here may open {hard} files: raise `ulimit -Hn` to {count}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
