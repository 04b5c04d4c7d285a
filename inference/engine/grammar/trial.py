"""Trying a grammar out before this process compiles it, where it can neither hang nor crash anything."""

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

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

    def translate(self, grammar: Grammar) -> tuple[Translation, int]:
        """Translate a grammar; returns also how many bytes compiling it takes.

        Raises:
            InvalidGrammar: it cannot be enforced, or not within the limits.
            Overloaded: the machine is too busy to tell.
            Unavailable: the process cannot be started, or was stopped.
        """
        answer = self._ask(grammar)
        if "grammar" in answer:
            return Translation(answer["grammar"], answer["checked"]), answer["bytes"]
        if "reason" in answer:
            raise InvalidGrammar(grammar.field, answer["path"], answer["reason"])
        if "failed" in answer:
            logger.error("Compiling a grammar failed:\n%s", answer["failed"])
            raise InvalidGrammar(grammar.field, "$", "it cannot be compiled")
        match answer["ended"]:
            case "time":
                reason = f"it takes more than {self._config.grammar_compile_s:g} s to compile"
            case "memory":
                reason = f"it takes more than {self._config.grammar_memory_mb} MB to compile"
            case "waiting":
                raise Overloaded(retry_after_s=_RETRY_AFTER_S)
            case _:
                reason = "it is too complex to compile"
        raise InvalidGrammar(grammar.field, "$", reason)

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

    def _ask(self, grammar: Grammar) -> dict[str, Any]:
        """What the process answers."""
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
        with ours, theirs:
            try:
                with self._lock:
                    socket.send_fds(self._started(), [b"."], [theirs.fileno()])
                theirs.close()
                ours.settimeout(wall_s + 1)
                with ours.makefile("rwb") as messages:
                    messages.write(json.dumps(asked).encode() + b"\n")
                    messages.flush()
                    answer = messages.readline()
            except TimeoutError:
                return {"ended": "waiting"}
            except OSError:
                answer = b""
        if not answer:
            raise Unavailable("The process that compiles grammars has ended; try again.")
        return dict(json.loads(answer))

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
            environment = {"PYTHONPATH": str(_ROOT), "PATH": os.environ.get("PATH", "")}
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
