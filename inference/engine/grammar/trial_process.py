"""The process that tries grammars out: `python -m inference.engine.grammar.trial_process`.

It reads the tokens once and forks for each grammar. Each fork has a limit of time and of memory, set in the
kernel: llguidance cannot be interrupted, and some grammars keep it busy for hours. The fork of the next
grammar is made before that comes, and has compiled one of its own: most of what a fork costs is the memory
that it writes to for the first time.

Its standard input is a socket. A first message holds the tokens; each further byte comes with the descriptor
of a socket, from which a fork reads one grammar. The fork answers a line for each part that has passed, so
that the worker need not wait for the last, or one that says why the grammar has not. Of a fork that the
kernel has ended, this process says why.
"""

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn

from inference.engine.grammar.checked_schema import NEWEST_DRAFT, SUPPORTED_DRAFTS
from inference.engine.grammar.paths import SchemaRefused
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import Progress, Translation, translate
from inference.engine.grammar.turns import NICENESS

_ENDED_BY: dict[int, str] = {
    signal.SIGPROF: "time",
    signal.SIGALRM: "waiting",
    signal.SIGABRT: "memory",
    signal.SIGKILL: "memory",
}
"""What a fork's end by a signal means. Rust aborts where it gets no memory, and the kernel kills."""


def main() -> None:
    """Serve until the other side closes the socket."""
    control = socket.socket(fileno=sys.stdin.fileno())
    os.nice(NICENESS)
    with suppress(OSError):  # where memory runs out, the kernel ends this process, not the worker
        Path("/proc/self/oom_score_adj").write_text("1000")
    with control.makefile("rb", buffering=0) as messages:
        length = int.from_bytes(_exactly(messages, 8))
        start = json.loads(_exactly(messages, length))
    table = TokenTable([bytes.fromhex(token) for token in start["tokens"]], start["special_ids"])
    forks = _Forks(control, table)
    _warm_up(table, SUPPORTED_DRAFTS)
    gc.collect()
    gc.freeze()  # a collection in a fork would write to all that it shares with this process
    control.sendall(b"+")
    forks.serve()


def _warm_up(table: TokenTable, drafts: Iterable[str]) -> None:
    """Compile a schema of each draft, so that what is loaded or computed once has been."""
    parts = {"a": {"type": "array", "items": {"enum": ["b", 1]}}, "c": {"type": "string", "pattern": "^d+$"}}
    for draft in drafts:
        schema = {"$schema": draft, "type": "object", "properties": parts, "additionalProperties": False}
        translate(Grammar.of_schema(schema, field=""), table, nesting=8, states=1000)


@dataclass(eq=False)
class _Fork:
    """A process for one grammar.

    Attributes:
        process_id: its own.
        control: takes the descriptor of the socket from which the grammar is read, and then gives a byte. It
            closes when the fork ends, which signals would tell at places where nobody listens any more.
        connection: that socket, once there is a grammar.
        began: the fork has taken it.
    """

    process_id: int
    control: socket.socket
    connection: socket.socket | None = None
    began: bool = False

    def fileno(self) -> int:
        return self.control.fileno()

    def give(self, connection: socket.socket) -> None:
        self.connection = connection
        with suppress(OSError):  # it has ended
            socket.send_fds(self.control, [b"."], [connection.fileno()])

    def has_ended(self) -> bool:
        """Read what it tells."""
        try:
            told = self.control.recv(1)
        except OSError:
            told = b""
        self.began |= bool(told)
        return not told

    def bury(self) -> None:
        """Say why it has ended, if that has to do with a grammar."""
        _, status = os.waitpid(self.process_id, 0)
        if self.began and self.connection is not None and os.WIFSIGNALED(status):
            with suppress(OSError):
                ended = _ENDED_BY.get(os.WTERMSIG(status), "complexity")
                self.connection.sendall(_line({"ended": ended}))
        self.close()

    def close(self) -> None:
        self.control.close()
        if self.connection is not None:
            self.connection.close()


class _Forks:
    def __init__(self, control: socket.socket, table: TokenTable) -> None:
        self._control = control
        self._table = table
        self._forks: list[_Fork] = []

    def serve(self) -> None:
        """Give each grammar to a fork, until the other side closes the socket."""
        while True:
            self._waiting()
            watched: list[socket.socket | _Fork] = [self._control, *self._forks]
            ready, _, _ = select.select(watched, [], [])
            for fork in [fork for fork in self._forks if fork in ready and fork.has_ended()]:
                self._forks.remove(fork)
                fork.bury()
            if self._control in ready:
                signalled, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
                if not signalled:
                    return
                self._waiting().give(socket.socket(fileno=descriptors[0]))

    def _waiting(self) -> _Fork:
        """The fork of the next grammar."""
        waiting = next((fork for fork in self._forks if fork.connection is None), None)
        return waiting or self._new()

    def _new(self) -> _Fork:
        ours, theirs = socket.socketpair()
        process_id = os.fork()
        if process_id:
            theirs.close()
            self._forks.append(_Fork(process_id, ours))
            return self._forks[-1]
        # Another fork's connection is closed once that fork and the process above have closed it.
        for other in (self._control, ours):
            other.close()
        for fork in self._forks:
            fork.close()
        gc.disable()  # it ends soon
        before = _peak_bytes()  # what the warm-up frees, the grammar takes: it counts as the grammar's
        with suppress(Exception):  # what fails here fails again, and is told, when there is someone to tell
            _warm_up(self._table, [NEWEST_DRAFT])
        signalled, descriptors, _, _ = socket.recv_fds(theirs, 1, 1)
        if signalled:
            theirs.send(b"+")
            _serve(socket.socket(fileno=descriptors[0]), self._table, before)
        os._exit(0)


def _serve(connection: socket.socket, table: TokenTable, before: int) -> NoReturn:
    with suppress(OSError), connection, connection.makefile("rwb") as messages:
        asked = json.loads(messages.readline())
        _limit(cpu_s=asked["cpu_s"], wall_s=asked["wall_s"], megabytes=asked["megabytes"])
        try:
            answer = _answer(asked, table, before, _Telling(messages))
        except MemoryError:
            answer = {"ended": "memory"}
        except BaseException as error:
            # Not its message, which may contain what the client sent. A panic of Rust's is no `Exception`.
            answer = {"failed": f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}"}
        messages.write(_line(answer))
    os._exit(0)


class _Telling(Progress):
    """Tells the worker how far it is."""

    def __init__(self, messages: BufferedIOBase) -> None:
        self._messages = messages

    def judged(self) -> None:
        self._tell({"judged": True})

    def compiled(self, translation: Translation) -> None:
        self._tell(asdict(translation))

    def _tell(self, part: dict[str, Any]) -> None:
        self._messages.write(_line(part))
        self._messages.flush()


def _limit(*, cpu_s: float, wall_s: float, megabytes: int) -> None:
    # Their signals end the process.
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    signal.setitimer(signal.ITIMER_REAL, wall_s)
    status = Path("/proc/self/statm")
    if status.exists():
        now = int(status.read_text().split()[0]) * resource.getpagesize()
        most = now + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _answer(asked: dict[str, Any], table: TokenTable, before: int, progress: Progress) -> dict[str, Any]:
    grammar = Grammar(**asked["grammar"])
    try:
        translate(grammar, table, nesting=asked["nesting"], states=asked["states"], progress=progress)
    except SchemaRefused as refused:
        return {"path": refused.path, "reason": refused.reason}
    return {"bytes": _peak_bytes() - before}


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _exactly(stream: Any, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        part = stream.read(length - len(parts))
        if not part:
            sys.exit(0)
        parts += part
    return bytes(parts)


if __name__ == "__main__":
    main()
