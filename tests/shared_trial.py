"""One process that tries grammars out, for all tiny engines: starting one takes longer than most tests."""

import atexit
import socket

from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.grammar.compiler import GrammarCompiler
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.trial import Trial

_trials: dict[tuple[tuple[bytes, ...], tuple[int, ...]], Trial] = {}


class SharedTrial(Trial):
    """Uses the process of the first with the same tokens, which ends with the tests."""

    def __init__(self, table: TokenTable, config: EngineConfig) -> None:
        super().__init__(table, config)
        tokens = (table.tokens, table.special_ids)
        if tokens not in _trials:
            _trials[tokens] = Trial(table, config)
            atexit.register(_trials[tokens].stop)
        self._first = _trials[tokens]

    def _started(self) -> socket.socket:
        if self._stopped:
            return super()._started()
        with self._first._lock:
            return self._first._started()


class SharingEngine(Engine):
    """An engine whose grammars are tried out by the process of others."""

    @property
    def grammars(self) -> GrammarCompiler:
        compiler = super().grammars
        if not isinstance(compiler._trial, SharedTrial):
            compiler._trial = SharedTrial(compiler._table, compiler._config)
        return compiler
