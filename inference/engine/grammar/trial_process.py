"""The process that tries grammars out: `python -m inference.engine.grammar.trial_process`.

It reads the tokens once and forks for each grammar. Each fork has a limit of time and of memory, set in the
kernel: llguidance cannot be interrupted, and some grammars keep it busy for hours.

Its standard input is a socket. A first message holds the tokens; each further byte comes with the descriptor
of a socket, from which a fork reads one grammar and to which it answers in one line. Of a fork that the
kernel has ended, this process says why.
"""

import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from inference.engine.grammar.paths import SchemaRefused
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import translate

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
    os.nice(10)  # the engine comes first: its threads wait for each other, so what one of them loses all lose
    with suppress(OSError):  # where memory runs out, the kernel ends this process, not the worker
        Path("/proc/self/oom_score_adj").write_text("1000")
    with control.makefile("rb", buffering=0) as messages:
        length = int.from_bytes(_exactly(messages, 8))
        start = json.loads(_exactly(messages, length))
    table = TokenTable([bytes.fromhex(token) for token in start["tokens"]], start["special_ids"])
    forks = _Forks(control, table)
    control.sendall(b"+")
    forks.serve()


class _Forks:
    def __init__(self, control: socket.socket, table: TokenTable) -> None:
        self._control = control
        self._table = table
        self._connections: dict[int, socket.socket] = {}
        self._ended, waker = socket.socketpair()
        waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.detach())

    def serve(self) -> None:
        """Fork for each grammar, until the other side closes the socket."""
        while True:
            ready, _, _ = select.select([self._control, self._ended], [], [])
            if self._ended in ready:
                self._ended.recv(4096)
                self._bury()
            if self._control in ready:
                signalled, descriptors, _, _ = socket.recv_fds(self._control, 1, 1)
                if not signalled:
                    return
                self._fork(socket.socket(fileno=descriptors[0]))

    def _fork(self, connection: socket.socket) -> None:
        process_id = os.fork()
        if process_id:
            self._connections[process_id] = connection
            return
        signal.set_wakeup_fd(-1)
        # Another fork's connection is closed once that fork and the process above have closed it.
        for other in (self._control, *self._connections.values()):
            other.close()
        _serve(connection, self._table)

    def _bury(self) -> None:
        while self._connections:
            process_id, status = os.waitpid(-1, os.WNOHANG)
            if not process_id:
                return
            with self._connections.pop(process_id) as connection, suppress(OSError):
                if os.WIFSIGNALED(status):
                    connection.sendall(_line({"ended": _ENDED_BY.get(os.WTERMSIG(status), "complexity")}))


def _serve(connection: socket.socket, table: TokenTable) -> NoReturn:
    with suppress(OSError), connection, connection.makefile("rwb") as messages:
        asked = json.loads(messages.readline())
        _limit(cpu_s=asked["cpu_s"], wall_s=asked["wall_s"], megabytes=asked["megabytes"])
        try:
            answer = _answer(asked, table)
        except MemoryError:
            answer = {"ended": "memory"}
        except BaseException as error:
            # Not its message, which may contain what the client sent. A panic of Rust's is no `Exception`.
            answer = {"failed": f"{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}"}
        messages.write(_line(answer))
    os._exit(0)


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


def _answer(asked: dict[str, Any], table: TokenTable) -> dict[str, Any]:
    grammar = Grammar(**asked["grammar"])
    before = _peak_bytes()
    try:
        translation = translate(grammar, table, nesting=asked["nesting"], states=asked["states"])
    except SchemaRefused as refused:
        return {"path": refused.path, "reason": refused.reason}
    return {**asdict(translation), "bytes": _peak_bytes() - before}


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
