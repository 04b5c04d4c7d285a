"""A fork of the process that tries grammars out: one grammar after the other, each under limits.

It answers a line for each part of a grammar that has passed, so that the worker need not wait for the last,
or one that says why the grammar has not.
"""

import ctypes
import gc
import json
import os
import resource
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn

from inference.engine.grammar.checked_schema import NEWEST_DRAFT, SUPPORTED_DRAFTS
from inference.engine.grammar.paths import SchemaRefused
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import Progress, Translation, translate

_MOST_GRAMMARS = 500
"""Of one fork."""
_MOST_LEFT_BYTES = 64 * 2**20
"""Of memory that a fork may have taken for its grammars and not given back, for another to follow them."""
_BYTES_OF_A_BLOCK = 100
"""Of Python's own memory, about."""
_STATM = Path("/proc/self/statm")


def warm_up(table: TokenTable, *drafts: str) -> None:
    """Compile a schema of each draft, so that what is loaded or computed once has been.

    Args:
        drafts: all that are known, where there are none.
    """
    parts = {"a": {"type": "array", "items": {"enum": ["b", 1]}}, "c": {"type": "string", "pattern": "^d+$"}}
    for draft in drafts or SUPPORTED_DRAFTS:
        schema = {"$schema": draft, "type": "object", "properties": parts, "additionalProperties": False}
        translate(Grammar.of_schema(schema, field=""), table, nesting=8, states=1000)


def serve(control: socket.socket, table: TokenTable) -> NoReturn:
    """Try out the grammars that come on the sockets whose descriptors the control gives, then end.

    It gives a `+` back when one has come, and a `-` when the next may.
    """
    gc.disable()  # a collection would write to all that the fork shares with its process
    with suppress(Exception):  # what fails here fails again, and is told, when there is someone to tell
        warm_up(table, NEWEST_DRAFT)
    try:
        most, left = _address_space() + _MOST_LEFT_BYTES, _MOST_GRAMMARS
        while True:
            signalled, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not signalled:
                break
            control.send(b"+")
            left -= 1
            if not _serve_one(socket.socket(fileno=descriptors[0]), table) or not left:
                break
            gc.collect(0)
            if _address_space() > most:
                break
            control.send(b"-")
    finally:
        os._exit(0)  # whatever happens: what is above on the stack is the other process's


def _serve_one(connection: socket.socket, table: TokenTable) -> bool:
    """Whether this process is as it was before."""
    unharmed = False
    with suppress(OSError), connection, connection.makefile("rwb") as messages:
        asked = json.loads(messages.readline())
        with _limits(cpu_s=asked["cpu_s"], wall_s=asked["wall_s"], megabytes=asked["megabytes"]):
            telling = _Telling(messages)
            try:
                answer = _answer(asked, table, telling)
                unharmed = True
            except MemoryError:
                answer = {"ended": "memory"}
            except BaseException as error:
                # Not its message, which may contain what the client sent. A panic of Rust's is no
                # `Exception`.
                place = "".join(traceback.format_tb(error.__traceback__))
                answer = {"failed": f"{place}{type(error).__name__}"}
            telling.tell(answer)
    return unharmed


class _Telling(Progress):
    """Tells the worker how far it is."""

    def __init__(self, messages: BufferedIOBase) -> None:
        self._messages = messages
        self._before = _bytes_in_use()
        self.bytes = 0

    def compiled(self, translation: Translation) -> None:
        self.tell(asdict(translation))

    def judged(self) -> None:
        self.tell({"judged": True})

    def followed(self) -> None:
        self.bytes = max(0, _bytes_in_use() - self._before)

    def tell(self, part: dict[str, Any]) -> None:
        """Write a line."""
        self._messages.write(json.dumps(part).encode() + b"\n")
        self._messages.flush()


def _answer(asked: dict[str, Any], table: TokenTable, telling: _Telling) -> dict[str, Any]:
    grammar = Grammar(**asked["grammar"])
    try:
        translate(grammar, table, nesting=asked["nesting"], states=asked["states"], progress=telling)
    except SchemaRefused as refused:
        return {"path": refused.path, "reason": refused.reason}
    return {"bytes": telling.bytes}


@contextmanager
def _limits(*, cpu_s: float, wall_s: float, megabytes: int) -> Iterator[None]:
    """Limits on the block, which end the process by a signal."""
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    if now := _address_space():
        resource.setrlimit(resource.RLIMIT_AS, (now + megabytes * 2**20, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _address_space() -> int:
    """Its size in bytes; 0 where that cannot be told."""
    return int(_STATM.read_text().split()[0]) * resource.getpagesize() if _STATM.exists() else 0


def _bytes_in_use() -> int:
    """What is allocated now; where the library cannot tell, what this process has ever taken."""
    mallinfo = _mallinfo()
    if mallinfo is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    info = mallinfo()
    return int(info.uordblks + info.hblkhd) + sys.getallocatedblocks() * _BYTES_OF_A_BLOCK


class _MallInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


@cache
def _mallinfo() -> Callable[[], _MallInfo] | None:
    function = getattr(ctypes.CDLL(None), "mallinfo2", None)
    if function is not None:
        function.restype = _MallInfo
    return function
