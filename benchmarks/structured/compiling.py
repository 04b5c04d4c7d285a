"""How long a request without a schema waits for its next token while others compile theirs.

The unit is a step of the stream alone, which computes one row. While others ask, nearly every step computes
prompt tokens of theirs as well, and takes longer even if nothing is compiled: that is the gap called `free`.
The HTTP side of all requests and this client share the processors with the model, which is part of each gap.
"""

import statistics
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.structured.service import Service

_AT_ONCE = 4
_STREAMS = 3
_KNOWN = 64
"""Schemas that are asked for again and again: a worker keeps more, so that none is compiled again."""


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Longest times between two tokens, in steps of the service without other requests.

    Attributes:
        free: while others ask without one, which takes as many requests and prompts.
        known: while others ask with schemas that are compiled already.
        compiling: while each of their requests compiles one.
    """

    free: float
    known: float
    compiling: float


def longest_gaps(service: Service, schemas: Iterable[Any], *, tokens: int) -> Gaps:
    """Measure them on a stream of this many tokens."""
    objects = [schema for schema in schemas if isinstance(schema, dict)]
    known = objects[:_KNOWN]
    step_s = statistics.median(service.gaps_s(tokens=tokens))
    for schema in known:
        service.ask(schema, max_tokens=1, seed=1)

    def longest(schema_of: Callable[[int], Any]) -> float:
        """The median of a few streams: one longest time is often the machine's."""
        with _others(service, schema_of):
            return statistics.median(max(service.gaps_s(tokens=tokens)) for _ in range(_STREAMS)) / step_s

    return Gaps(
        free=longest(lambda _: None),
        known=longest(lambda number: known[number % len(known)]),
        # No schema is compiled twice; a comment makes it another one.
        compiling=longest(lambda number: {**objects[number % len(objects)], "$comment": f"{number}"}),
    )


@contextmanager
def _others(service: Service, schema_of: Callable[[int], Any]) -> Iterator[None]:
    """Clients that ask for a token of one schema after the other, or without any."""
    ended, number = threading.Event(), count()

    def ask() -> None:
        while not ended.is_set():
            service.ask(schema_of(next(number)), max_tokens=1, seed=1)

    threads = [threading.Thread(target=ask) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
