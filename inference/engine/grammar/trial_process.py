"""The process that tries grammars out: `python -m inference.engine.grammar.trial_process`.

It reads the tokens once and forks for each grammar. Each fork has a limit of time and of memory, set in the
kernel: llguidance cannot be interrupted, and some grammars keep it busy for hours.

Its standard input is a socket. A first message holds the tokens; each further byte comes with the descriptor
of a socket, from which a fork reads one grammar and to which it answers.
"""

import json
import os
import resource
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inference.engine.grammar.paths import SchemaRefused
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import translate


def main() -> None:
    """Serve until the other side closes the socket."""
    control = socket.socket(fileno=sys.stdin.fileno())
    os.nice(10)  # the engine comes first
    with suppress(OSError):  # where memory runs out, the kernel ends this process, not the worker
        Path("/proc/self/oom_score_adj").write_text("1000")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel then takes forks away by itself
    with control.makefile("rb", buffering=0) as messages:
        length = int.from_bytes(_exactly(messages, 8))
        start = json.loads(_exactly(messages, length))
    table = TokenTable([bytes.fromhex(token) for token in start["tokens"]], start["special_ids"])
    control.sendall(b"+")
    while True:
        signalled, descriptors, _, _ = socket.recv_fds(control, 1, 1)
        if not signalled:
            return
        [descriptor] = descriptors
        if os.fork() == 0:
            _serve(socket.socket(fileno=descriptor), table)
        os.close(descriptor)


def _serve(connection: socket.socket, table: TokenTable) -> None:
    try:
        with connection, connection.makefile("rwb") as messages:
            asked = json.loads(messages.readline())
            _limit(seconds=asked["seconds"], megabytes=asked["megabytes"])
            messages.write(json.dumps(_answer(asked, table)).encode())
    except BaseException as error:
        sys.stderr.write(f"Trying out a grammar failed: {error!r}\n")
    os._exit(0)


def _limit(*, seconds: float, megabytes: int) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)  # its signal ends the process
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
