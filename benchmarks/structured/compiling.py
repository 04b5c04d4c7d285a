"""How long a request without a schema waits for its next token while others compile theirs."""

import statistics
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.structured.service import Service

_AT_ONCE = 4


@dataclass(frozen=True, kw_only=True)
class Gaps:
    """Longest times between two tokens, in steps of the service without other requests.

    Attributes:
        known: while others ask with schemas that are compiled already.
        compiling: while each of their requests compiles one.
    """

    known: float
    compiling: float


def longest_gaps(service: Service, schemas: Iterable[Any], *, tokens: int) -> Gaps:
    """Measure them on a stream of this many tokens."""
    objects = [schema for schema in schemas if isinstance(schema, dict)]
    step_s = statistics.median(service.gaps_s(tokens=tokens))
    for schema in objects:
        service.ask(schema, max_tokens=1, seed=1)
    longest = []
    for new in (False, True):
        with _others(service, objects, new=new):
            longest.append(max(service.gaps_s(tokens=tokens)) / step_s)
    return Gaps(known=longest[0], compiling=longest[1])


@contextmanager
def _others(service: Service, schemas: list[Any], *, new: bool) -> Iterator[None]:
    """Clients that ask for a token of one schema after the other."""
    ended, number = threading.Event(), count()

    def ask() -> None:
        while not ended.is_set():
            i = next(number)
            schema = schemas[i % len(schemas)]
            # No schema is compiled twice; a comment makes it another one.
            service.ask({**schema, "$comment": f"{i}"} if new else schema, max_tokens=1, seed=1)

    threads = [threading.Thread(target=ask) for _ in range(_AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
