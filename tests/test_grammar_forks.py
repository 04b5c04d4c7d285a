"""Grammars are tried out by forks of a process: how they follow each other, and that none outlives it."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from inference.engine.engine import Engine
from inference.engine.errors import InvalidGrammar, Overloaded, Unavailable
from inference.engine.grammar import trial
from inference.engine.grammar.compiler import GrammarCompiler
from inference.engine.grammar.source import Grammar
from tests.models import tiny_engine
from tests.test_grammar_trial import CONFIG, SLOW, schema

pytestmark = pytest.mark.slow  # It starts processes.

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(CONFIG, eos_ids=(256,), start=False, own_trial=True)
    yield engine
    engine.stop()


def test_a_fork_takes_one_grammar_after_the_other_each_with_limits_of_its_own(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammars = GrammarCompiler(engine._tokenizer, CONFIG, eos_ids=(256,))
    try:
        grammars.compile(Grammar("regex", "0", "regex"))
        process = grammars._trial._process
        assert process is not None
        forks = _children(process.pid)
        number = 0
        while max(map(_cpu_s, forks)) <= CONFIG.grammar_compile_s:
            number += 1
            grammars.compile(schema({"enum": [number, *"abcdefghij"], "pattern": f"^[a-z]{{{number}}}"}))
        with monkeypatch.context() as patched:
            patched.setattr(trial, "_LONGEST_WAIT", 6.0)
            grammars.compile(Grammar("regex", "a", "regex"))
            wall_s = trial._LONGEST_WAIT * CONFIG.grammar_compile_s
        time.sleep(wall_s + 0.5)  # none waits for a grammar that has ended
        grammars.compile(Grammar("regex", "1", "regex"))
        assert {*forks} <= {*_children(process.pid)}
        forks = _children(process.pid)
        with pytest.raises(InvalidGrammar, match=r"more than 0\.5 s to compile"):
            grammars.compile(SLOW)
        grammars.compile(Grammar("regex", "2", "regex"))
        assert len(set(forks) - set(_children(process.pid))) == 1
    finally:
        grammars.stop()


def test_the_forks_that_wait_end_with_the_process_and_one_is_replaced_where_they_end_alone(
    engine: Engine,
) -> None:
    grammars = GrammarCompiler(engine._tokenizer, CONFIG, eos_ids=(256,))
    try:
        grammars.compile(Grammar("regex", "a", "regex"))
        process = grammars._trial._process
        assert process is not None
        while len(waiting := _children(process.pid)) != 2:  # the one that has compiled, and another
            time.sleep(0.01)
        for one in waiting:
            os.kill(int(one), signal.SIGKILL)
        while not (new := _children(process.pid)) or {*new} & {*waiting}:
            time.sleep(0.01)
        grammars.compile(Grammar("regex", "c", "regex"))
        assert grammars._trial._process is process
        waiting = _children(process.pid)
        process.kill()
        process.wait()
        while any(Path(f"/proc/{one}/exe").exists() for one in waiting):
            time.sleep(0.01)
    finally:
        grammars.stop()


def test_the_process_ends_silently_though_its_fork_ends_later() -> None:
    ours, theirs = socket.socketpair()
    # Its forks end when it has closed their sockets, which may be before it has ended itself.
    program = "import time; from inference.engine.grammar.trial_process import main; main(); time.sleep(0.5)"
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", program], stdin=theirs.fileno(), stderr=subprocess.PIPE, cwd=ROOT
            )
        start = json.dumps({"tokens": [bytes([one]).hex() for one in range(256)], "special_ids": []}).encode()
        ours.sendall(len(start).to_bytes(8) + start)
        assert ours.recv(1) == b"+"
        while not _children(process.pid):
            time.sleep(0.01)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")


def test_stopping_ends_a_grammar_that_is_being_tried_out(engine: Engine) -> None:
    grammars = GrammarCompiler(engine._tokenizer, replace(CONFIG, grammar_compile_s=60), eos_ids=(256,))
    grammars.compile(Grammar("regex", "x", "regex"))
    process = grammars._trial._process
    assert process is not None
    failed: list[Exception] = []

    def compile_slowly() -> None:
        try:
            grammars.compile(SLOW)
        except (InvalidGrammar, Unavailable, Overloaded) as error:
            failed.append(error)

    def computed_s() -> float:
        return sum(map(_cpu_s, _children(process.pid)))

    before = computed_s()
    thread = threading.Thread(target=compile_slowly)
    thread.start()
    while computed_s() < before + 0.2:
        time.sleep(0.01)
    forks = _children(process.pid)
    grammars.stop()
    thread.join(10)
    assert not thread.is_alive()
    assert failed
    with pytest.raises(Unavailable):
        grammars.compile(Grammar("regex", "y", "regex"))
    assert not any(Path(f"/proc/{fork}/exe").exists() for fork in forks)


def _children(process_id: int) -> list[str]:
    return Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()


def _cpu_s(process_id: str) -> float:
    ticks = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
