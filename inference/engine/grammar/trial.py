"""Trying a grammar out before this process compiles it, where it can neither hang nor crash anything."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from inference.engine.config import EngineConfig
from inference.engine.errors import InvalidGrammar, Overloaded, Unavailable
from inference.engine.grammar.source import Grammar
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import Translation

_AT_ONCE = 4
_START_WITHIN_S = 60.0
_ROOT = Path(__file__).parents[3]


class Trial:
    """A process that tries grammars out, started with the first of them. Safe to use from any thread."""

    def __init__(self, table: TokenTable, config: EngineConfig) -> None:
        self._table = table
        self._config = config
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def translate(self, grammar: Grammar) -> tuple[Translation, int]:
        """Translate a grammar; returns also how many bytes compiling it takes.

        Raises:
            InvalidGrammar: it cannot be enforced, or not within the limits.
            Overloaded: too many are being tried out.
            Unavailable: the process cannot be started.
        """
        limit_s = self._config.grammar_compile_s
        if not self._room.acquire(timeout=limit_s):
            raise Overloaded(retry_after_s=1)
        try:
            began = time.monotonic()
            answer = self._ask(grammar)
        finally:
            self._room.release()
        if answer is None:
            late = time.monotonic() - began >= limit_s
            limit = f"{limit_s:g} s" if late else f"{self._config.grammar_memory_mb} MB"
            raise InvalidGrammar(grammar.field, "$", f"it takes more than {limit} to compile")
        if "reason" in answer:
            raise InvalidGrammar(grammar.field, answer["path"], answer["reason"])
        return Translation(answer["grammar"], answer["checked"]), answer["bytes"]

    def stop(self) -> None:
        """End the process."""
        with self._lock:
            if self._control is not None and self._process is not None:
                self._control.close()
                self._process.wait()
            self._control = self._process = None

    def _ask(self, grammar: Grammar) -> dict[str, Any] | None:
        """What the process answers; None if it had to be ended."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            with self._lock:
                control = self._started()
                try:
                    socket.send_fds(control, [b"."], [theirs.fileno()])
                except OSError as error:
                    raise Unavailable("The process that compiles grammars has ended; try again.") from error
            theirs.close()
            ours.settimeout(self._config.grammar_compile_s + 5)
            asked = {
                "grammar": asdict(grammar),
                "nesting": self._config.grammar_nesting,
                "states": self._config.grammar_states,
                "seconds": self._config.grammar_compile_s,
                "megabytes": self._config.grammar_memory_mb,
            }
            try:
                with ours.makefile("rwb") as messages:
                    messages.write(json.dumps(asked).encode() + b"\n")
                    messages.flush()
                    answer = messages.read()
            except OSError:
                return None
        return json.loads(answer) if answer else None

    def _started(self) -> socket.socket:
        if self._control is not None and self._process is not None and self._process.poll() is None:
            return self._control
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
