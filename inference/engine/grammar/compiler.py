"""From what requests ask for to what holds their texts to it: compiled once, and kept."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from llguidance import LLMatcher, LLTokenizer

from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.errors import InvalidGrammar
from inference.engine.grammar.calls import Calls, without_control_token
from inference.engine.grammar.calls_check import CallsCheck
from inference.engine.grammar.check import SchemaCheck
from inference.engine.grammar.constraint import Acceptor, Constraint, Masks
from inference.engine.grammar.masks import ReadMasks, read_masks
from inference.engine.grammar.source import Grammar, schema_of
from inference.engine.grammar.tokens import TokenTable
from inference.engine.grammar.translation import Translation, compile_matcher
from inference.engine.grammar.trial import Trial
from inference.engine.grammar.turns import NICENESS, Turns
from inference.engine.tokenizer import Tokenizer

_CACHE_BYTES = 256 * 2**20
_AT_ONCE, _OF_ONE_OWNER = 4, 2


class CompiledGrammar:
    """A grammar, ready for any number of texts. Safe to use from any thread.

    Args:
        matcher: of the translation, at the beginning of a text.
        compile_matcher: compiles a grammar in llguidance's language.
    """

    def __init__(
        self,
        translation: Translation,
        matcher: LLMatcher,
        check: "FinalCheck",
        table: TokenTable,
        compile_matcher: Callable[[str, LLTokenizer], LLMatcher],
    ) -> None:
        self._matcher = matcher
        self._translation = translation
        self._check = check
        self._table = table
        self._compile_matcher = compile_matcher
        self._lock = threading.Lock()
        self._byte_matcher: LLMatcher | None = None

    def constraint(self, *, end_ids: frozenset[int], stops: bool) -> Constraint:
        """For one text.

        Args:
            end_ids: tokens that end the text, where the grammar allows an end.
            stops: stop strings can end it as well.
        """
        with self._lock:
            matcher = self._matcher.deep_copy()
            acceptor = Acceptor(self._by_bytes().deep_copy()) if stops else None
        return Constraint(
            matcher,
            self._table,
            end_ids=end_ids,
            acceptor=acceptor,
            check=self._check.check,
            control_id=self._check.control_id,
            provisional=self._translation.checked,
        )

    def _by_bytes(self) -> LLMatcher:
        if self._byte_matcher is None:
            grammar = without_control_token(self._translation.grammar)
            self._byte_matcher = self._compile_matcher(grammar, LLTokenizer("byte"))
        return self._byte_matcher


@dataclass(frozen=True)
class FinalCheck:
    """What finished texts are checked by, if anything, and the control token that may come in them."""

    check: SchemaCheck | CallsCheck | None
    control_id: int | None

    @classmethod
    def of(cls, grammar: Grammar) -> "FinalCheck":
        """That of the texts of a grammar.

        Raises:
            SchemaRefused: it could not tell.
        """
        if grammar.kind == "calls":
            calls = Calls.parse(grammar.source)
            return cls(CallsCheck(calls), calls.tool_format.control_id)
        return cls(SchemaCheck(schema_of(grammar)) if grammar.is_json else None, None)


class GrammarCompiler:
    """Compiles grammars for the tokens of one model. Safe to use from any thread.

    Args:
        eos_ids: tokens that end a text.
        read_masks: reads the masks of texts.

    Raises (`compile`):
        InvalidGrammar: it cannot be enforced; the message names the place and the reason.
        Overloaded, Unavailable: it cannot be compiled now.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        config: EngineConfig,
        *,
        eos_ids: Iterable[int],
        read_masks: ReadMasks = read_masks,
    ) -> None:
        tokens = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocabulary_size)]
        special_ids = {*tokenizer.special_ids.values(), *eos_ids}
        self._config = config
        special_ids = {token_id for token_id in special_ids if token_id < len(tokens)}
        self._table = TokenTable(tokens, special_ids, read_masks=read_masks)
        self._trial = Trial(self._table, config)
        # On Linux each thread has a niceness of its own.
        self._background = ThreadPoolExecutor(_AT_ONCE, "grammar", os.nice, (NICENESS,))
        self._turns = Turns(at_once=_AT_ONCE, of_one_owner=_OF_ONE_OWNER)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], tuple[CompiledGrammar, int]] = OrderedDict()
        self.masks = Masks(self._table, threads=config.threads or usable_cpus())

    def compile(self, grammar: Grammar, *, owner: str = "") -> CompiledGrammar:
        """Compile a grammar, or find it among those kept.

        Args:
            owner: who asks; one owner has half of the turns at most.
        """
        source_bytes = len(grammar.source.encode(errors="surrogatepass"))
        if source_bytes > self._config.grammar_bytes:
            raise InvalidGrammar(
                grammar.field,
                "$",
                f"more than {self._config.grammar_bytes} bytes are not supported",
            )
        compiled = self._find(grammar)
        if compiled is not None:
            return compiled
        if grammar.kind == "calls" and (text := Calls.parse(grammar.source).text) is not None:
            # What is wrong with it is refused by the name of its own field. It has a turn of its own.
            self.compile(text, owner=owner)
        with self._turns.turn(owner, within_s=self._config.grammar_compile_s):
            compiled = self._find(grammar)  # others may have waited for the same one
            if compiled is not None:
                return compiled
            compiled, size = self._compile(grammar)
            self._keep(grammar, compiled, size + source_bytes)
        return compiled

    def _compile(self, grammar: Grammar) -> tuple[CompiledGrammar, int]:
        """Do here what the trial has passed, each part while the next is tried; with its size in bytes."""
        with self._trial.attempt(grammar) as attempt:
            translation = attempt.translation()
            compiling = self._compiling(translation.grammar, self._table.llguidance)
            try:
                attempt.wait_judged()
                check = FinalCheck.of(grammar)
            finally:
                matcher = compiling.result()  # it belongs to this turn
            if matcher.is_error():
                raise InvalidGrammar(grammar.field, "$", matcher.get_error().splitlines()[0])
            compiled = CompiledGrammar(translation, matcher, check, self._table, self._compile_matcher)
            return compiled, attempt.size()

    def _compile_matcher(self, text: str, tokenizer: LLTokenizer) -> LLMatcher:
        return self._compiling(text, tokenizer).result()

    def _compiling(self, text: str, tokenizer: LLTokenizer) -> Future[LLMatcher]:
        """Compile in a thread that leaves the processors to the engine's."""
        states = self._config.grammar_states
        return self._background.submit(compile_matcher, text, tokenizer, states=states)

    def _find(self, grammar: Grammar) -> CompiledGrammar | None:
        key = (grammar.kind, grammar.source)
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def _keep(self, grammar: Grammar, compiled: CompiledGrammar, size: int) -> None:
        with self._lock:
            self._kept[grammar.kind, grammar.source] = compiled, size
            while len(self._kept) > self._config.grammar_cache or (
                len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > _CACHE_BYTES
            ):
                self._kept.popitem(last=False)

    def start(self) -> None:
        """Start the process that tries grammars out; `compile` does so if nothing has.

        Raises:
            Unavailable: it cannot be started.
        """
        self._trial.start()

    def stop(self) -> None:
        """End the process that tries grammars out."""
        self._trial.stop()
