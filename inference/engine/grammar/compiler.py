"""From what requests ask for to what holds their texts to it: compiled once, and kept."""

import threading
from collections import OrderedDict
from collections.abc import Iterable

from llguidance import LLMatcher, LLTokenizer

from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.errors import InvalidGrammar
from inference.engine.grammar.calls import Calls, without_control_token
from inference.engine.grammar.calls_check import CallsCheck
from inference.engine.grammar.check import SchemaCheck
from inference.engine.grammar.constraint import Acceptor, Constraint, Masks
from inference.engine.grammar.source import Grammar, schema_of
from inference.engine.grammar.tokens import TokenTable, parser_limits
from inference.engine.grammar.translation import Translation, compile_matcher
from inference.engine.grammar.trial import Trial
from inference.engine.grammar.turns import Turns
from inference.engine.tokenizer import Tokenizer

_CACHE_BYTES = 256 * 2**20
_AT_ONCE, _OF_ONE_OWNER = 4, 2


class CompiledGrammar:
    """A grammar, ready for any number of texts. Safe to use from any thread."""

    def __init__(self, grammar: Grammar, translation: Translation, table: TokenTable, *, states: int) -> None:
        self._matcher = compile_matcher(translation.grammar, table, states=states)
        if self._matcher.is_error():
            raise InvalidGrammar(grammar.field, "$", self._matcher.get_error().splitlines()[0])
        self._translation = translation
        self._table = table
        self._states = states
        self._check, self._control_id = _check_of(grammar)
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
            check=self._check,
            control_id=self._control_id,
            provisional=self._translation.checked,
        )

    def _by_bytes(self) -> LLMatcher:
        if self._byte_matcher is None:
            limits = parser_limits(states=self._states)
            bytes_alone = LLTokenizer("byte")
            grammar = without_control_token(self._translation.grammar)
            self._byte_matcher = LLMatcher(bytes_alone, grammar, log_level=0, limits=limits)
        return self._byte_matcher


def _check_of(grammar: Grammar) -> tuple[SchemaCheck | CallsCheck | None, int | None]:
    """The check of finished texts, and the control token that may come in them."""
    if grammar.kind == "calls":
        calls = Calls.parse(grammar.source)
        return CallsCheck(calls), calls.tool_format.control_id
    return SchemaCheck(schema_of(grammar)) if grammar.is_json else None, None


class GrammarCompiler:
    """Compiles grammars for the tokens of one model. Safe to use from any thread.

    Args:
        eos_ids: tokens that end a text.

    Raises (`compile`):
        InvalidGrammar: it cannot be enforced; the message names the place and the reason.
        Overloaded, Unavailable: it cannot be compiled now.
    """

    def __init__(self, tokenizer: Tokenizer, config: EngineConfig, *, eos_ids: Iterable[int]) -> None:
        tokens = [tokenizer.token_bytes(token_id) for token_id in range(tokenizer.vocabulary_size)]
        special_ids = {*tokenizer.special_ids.values(), *eos_ids}
        self._config = config
        self._table = TokenTable(tokens, (i for i in special_ids if i < len(tokens)))
        self._trial = Trial(self._table, config)
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
            translation, size = self._trial.translate(grammar)
            compiled = CompiledGrammar(grammar, translation, self._table, states=self._config.grammar_states)
            self._keep(grammar, compiled, size + source_bytes)
        return compiled

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
