"""The process that tries grammars out: `python -m inference.engine.grammar.trial_process`.

It reads the tokens once and gives each grammar to a fork (`trial_fork`). Each fork has a limit of time and of
memory, set in the kernel: llguidance cannot be interrupted, and some grammars keep it busy for hours. A fork
that no grammar has ended takes another: most of what a fork costs is the memory that it writes to for the
first time. One more than are busy is there before a grammar comes, and has compiled one of its own.

Its standard input is a socket. A first message holds the tokens; each further byte comes with the descriptor
of a socket, from which a fork reads one grammar. Of a fork that the kernel has ended, this process says why.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.engine.grammar import trial_fork
from inference.engine.grammar.tokens import TokenTable
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
    trial_fork.warm_up(table)
    gc.collect()
    gc.freeze()  # a collection in a fork would write to all that it shares with this process
    control.sendall(b"+")
    forks.serve()


@dataclass(eq=False)
class _Fork:
    """A process for one grammar at a time.

    Attributes:
        process_id: its own.
        control: takes the descriptors of the sockets from which grammars are read. It closes when the fork
            ends, which signals would tell at places where nobody listens any more.
        connection: that socket, while there is a grammar.
        began: the fork has taken it.
        served: how many it has had.
    """

    process_id: int
    control: socket.socket
    connection: socket.socket | None = None
    began: bool = False
    served: int = 0

    def fileno(self) -> int:
        return self.control.fileno()

    def give(self, connection: socket.socket) -> None:
        self.connection = connection
        self.served += 1
        with suppress(OSError):  # it has ended
            socket.send_fds(self.control, [b"."], [connection.fileno()])

    def has_ended(self) -> bool:
        """Read what it tells."""
        try:
            told = self.control.recv(1)
        except OSError:
            told = b""
        if told:
            self.began = told == b"+"
        if told == b"-" and self.connection is not None:
            self.connection.close()
            self.connection = None
        return not told

    def bury(self) -> None:
        """Say why it has ended, if that has to do with a grammar."""
        _, status = os.waitpid(self.process_id, 0)
        if self.began and self.connection is not None and os.WIFSIGNALED(status):
            with suppress(OSError):
                ended = _ENDED_BY.get(os.WTERMSIG(status), "complexity")
                self.connection.sendall(json.dumps({"ended": ended}).encode() + b"\n")
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
        waiting = [fork for fork in self._forks if fork.connection is None]
        return max(waiting, key=lambda fork: fork.served) if waiting else self._new()

    def _new(self) -> _Fork:
        ours, theirs = socket.socketpair()
        process_id = os.fork()
        if not process_id:
            # Another fork's connection is closed once that fork and the process above have closed it.
            self._control.close()
            ours.close()
            for fork in self._forks:
                fork.close()
            trial_fork.serve(theirs, self._table)
        theirs.close()
        self._forks.append(_Fork(process_id, ours))
        return self._forks[-1]


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
