"""Trying a grammar out before this process compiles it, where it can neither hang nor crash anything."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NoReturn

from inference.engine.config import EngineConfig
from inference.engine.errors import InvalidGrammar, Overloaded, Unavailable
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import Translation

logger = logging.getLogger(__name__)

_START_WITHIN_S = 60.0
_STOP_WITHIN_S = 5.0
_LONGEST_WAIT = 4.0
"""Seconds on the clock for each second that a grammar may compute: the engine comes first."""
_RETRY_AFTER_S = 5
_ENDED = "The process that compiles grammars has ended; try again."
_MALLOC = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=67108864"
"""Memory that a grammar gives back is kept for the next, which takes it sooner than from the kernel."""
_ROOT = Path(__file__).parents[3]


class Trial:
    """A process that tries grammars out, started before or with the first. Safe to use from any thread."""

    def __init__(self, table: TokenTable, config: EngineConfig) -> None:
        self._table = table
        self._config = config
        self._lock = threading.Lock()
        self._stopped = False
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @contextmanager
    def attempt(self, grammar: Grammar) -> Iterator["Attempt"]:
        """Try a grammar out while the block runs.

        Raises:
            Overloaded: the machine is too busy to tell.
            Unavailable: the process cannot be started, was stopped, or has ended.
        """
        wall_s = _LONGEST_WAIT * self._config.grammar_compile_s
        asked = {
            "grammar": asdict(grammar),
            "nesting": self._config.grammar_nesting,
            "states": self._config.grammar_states,
            "cpu_s": self._config.grammar_compile_s,
            "wall_s": wall_s,
            "megabytes": self._config.grammar_memory_mb,
        }
        ours, theirs = socket.socketpair()
        try:
            with ours, ours.makefile("rwb") as messages:
                with theirs, self._lock:
                    socket.send_fds(self._started(), [b"."], [theirs.fileno()])
                ours.settimeout(wall_s + 1)
                messages.write(json.dumps(asked).encode() + b"\n")
                messages.flush()
                yield Attempt(messages, grammar.field, self._config)
        except TimeoutError as error:
            raise Overloaded(retry_after_s=_RETRY_AFTER_S) from error
        except OSError as error:
            raise Unavailable(_ENDED) from error

    def start(self) -> None:
        """Start the process if it does not run.

        Raises:
            Unavailable: it cannot be started, or was stopped.
        """
        with self._lock:
            self._started()

    def stop(self) -> None:
        """End the process, and whatever it tries out; nothing can be tried out any more."""
        self._stopped = True
        held = self._lock.acquire(timeout=_STOP_WITHIN_S)
        try:
            if self._control is not None:
                self._control.close()
            if self._process is not None:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(_STOP_WITHIN_S)
                with suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)  # its forks too
                self._process.wait()
            self._control = self._process = None
        finally:
            if held:
                self._lock.release()

    def _started(self) -> socket.socket:
        if self._stopped:
            raise Unavailable("The service is shutting down.")
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
        if self._control is not None:
            self._control.close()
        ours, theirs = socket.socketpair()
        with theirs:
            # Not this process's environment: it holds secrets.
            environment = {
                "PYTHONPATH": str(_ROOT),
                "PATH": os.environ.get("PATH", ""),
                "GLIBC_TUNABLES": _MALLOC,
            }
            self._process = subprocess.Popen(
                [sys.executable, "-m", "inference.engine.grammar.trial_process"],
                stdin=theirs.fileno(), env=environment, start_new_session=True,
            )  # fmt: skip
        tokens = [token.hex() for token in self._table.tokens]
        start = json.dumps({"tokens": tokens, "special_ids": self._table.special_ids}).encode()
        ours.settimeout(_START_WITHIN_S)
        try:
            ours.sendall(len(start).to_bytes(8) + start)
            if ours.recv(1) != b"+":
                raise OSError("it has ended")
        except OSError as error:
            ours.close()
            raise Unavailable(f"The process that compiles grammars cannot start: {error}.") from error
        self._control = ours
        return ours


class Attempt:
    """A grammar that is being tried out, part after part.

    Raises (all methods), beside what `attempt` makes of a broken connection:
        InvalidGrammar: it cannot be enforced, or not within the limits.
        Overloaded, Unavailable: that cannot be told.
    """

    def __init__(self, messages: BufferedIOBase, field: str, config: EngineConfig) -> None:
        self._messages = messages
        self._field = field
        self._config = config

    def translation(self) -> Translation:
        """The grammar in llguidance's language, once it has been compiled."""
        return Translation(**self._next())

    def wait_judged(self) -> None:
        """Wait until it is certain that finished texts can be checked by its schemas."""
        self._next()

    def size(self) -> int:
        """How many bytes compiling it takes, once texts of it have been followed."""
        return int(self._next()["bytes"])

    def _next(self) -> dict[str, Any]:
        """What the process says of the next part."""
        line = self._messages.readline()
        if not line:
            raise Unavailable(_ENDED)
        answer = dict(json.loads(line))
        if "reason" in answer:
            raise InvalidGrammar(self._field, answer["path"], answer["reason"])
        if "failed" in answer:
            logger.error("Compiling a grammar failed:\n%s", answer["failed"])
            raise InvalidGrammar(self._field, "$", "it cannot be compiled")
        if "ended" in answer:
            self._refuse(answer["ended"])
        return answer

    def _refuse(self, ended_by: str) -> NoReturn:
        match ended_by:
            case "time":
                reason = f"it takes more than {self._config.grammar_compile_s:g} s to compile"
            case "memory":
                reason = f"it takes more than {self._config.grammar_memory_mb} MB to compile"
            case "waiting":
                raise Overloaded(retry_after_s=_RETRY_AFTER_S)
            case _:
                reason = "it is too complex to compile"
        raise InvalidGrammar(self._field, "$", reason)
