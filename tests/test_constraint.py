"""Where a stop string may end a text, and what a control token changes."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.engine.config import EngineConfig
from inference.engine.detokenizer import Detokenizer
from inference.engine.engine import Engine
from inference.engine.errors import NoFittingText
from inference.engine.grammar.calls import Calls
from inference.engine.grammar.constraint import Constraint
from inference.engine.grammar.source import Grammar
from inference.engine.tokenizer import HuggingFaceTokenizer
from inference.engine.tool_format import MISTRAL
from tests.examples import examples
from tests.models import byte_tokenizer, tiny_engine

END = 256
PATTERN = "[aé世😀]{2}(é!|[a😀])*"
# The tokenizer of bytes has one special token, which stands for the control token here.
CALLS = Calls(
    tool_format=replace(MISTRAL, control_id=END),
    arguments={"stop": {"type": "object", "properties": {}, "additionalProperties": False}},
    paths=["[0]"],
    required=False,
    several=True,
)
CALL = '[{"name": "stop", "arguments": {}}]'


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = tiny_engine(EngineConfig(kv_cache_tokens=256), start=False)
    yield engine
    engine.stop()


def constraint(engine: Engine, grammar: Grammar) -> Constraint:
    return engine.grammars.compile(grammar).constraint(end_ids=frozenset(), stops=True)


@settings(max_examples=examples(40), deadline=None)
@given(
    text=st.from_regex(f"({PATTERN})[aé!]?", fullmatch=True, alphabet="aé世😀!"),
    places=st.sets(st.integers(0, 12), min_size=2),
)
def test_a_stop_string_may_end_a_text_wherever_the_grammar_does(
    engine: Engine, text: str, places: set[int]
) -> None:
    acceptor = constraint(engine, Grammar("regex", PATTERN, "regex")).acceptor
    assert acceptor is not None
    for end in sorted(place for place in places if place <= len(text)):
        assert acceptor.may_end(text[:end]) == (re.fullmatch(PATTERN, text[:end]) is not None)


def written(engine: Engine, held: Constraint, token_ids: list[int], *, stop: str) -> str:
    """The text of the tokens, up to a stop string where one ends it."""
    acceptor = held.acceptor
    assert acceptor is not None
    tokenizer = HuggingFaceTokenizer(byte_tokenizer(), rows=257)
    text = Detokenizer(tokenizer, (), (stop,), may_end=acceptor.may_end)
    for token_id in token_ids:
        assert token_id in held.allowed(may_end=True)
        held.accept(token_id)
        text.append(token_id)
        if text.stopped:
            break
    text.finish()
    return text.text


def test_no_stop_string_ends_calls_that_a_control_token_has_begun(engine: Engine) -> None:
    held = constraint(engine, CALLS.grammar(field="tools"))
    call = list(engine.encode(CALL))
    assert written(engine, held, [END, *call], stop="arg") == CALL
    assert held.fits(CALL)
    held.restart()
    assert written(engine, held, call, stop="arg") == CALL.partition("arg")[0]


def test_a_text_that_looks_like_a_call_is_text_without_the_control_token(engine: Engine) -> None:
    held = constraint(engine, CALLS.grammar(field="tools"))
    for text in ('[{"name": "unknown", "arguments": {}}]', '[{"name": "stop", "arguments": {"a": 1}', CALL):
        held.restart()
        for token_id in engine.encode(text):
            held.accept(token_id)
        assert held.fits(text)


def test_calls_of_an_unknown_tool_or_that_are_cut_do_not_fit(engine: Engine) -> None:
    held = constraint(engine, CALLS.grammar(field="tools"))
    held.accept(END)
    for text in ('[{"name": "unknown", "arguments": {}}]', CALL[:-1], CALL[:20], ""):
        assert not held.fits(text)
    assert held.fits(CALL)


class Delayed:
    """A matcher that other programs keep waiting, or that computes for as long."""

    def __init__(self, matcher: Any, pause: Callable[[], None]) -> None:
        self._matcher = matcher
        self._pause = pause

    def __getattr__(self, name: str) -> Any:
        return getattr(self._matcher, name)

    def consume_token(self, token_id: int) -> bool:
        self._pause()
        return bool(self._matcher.consume_token(token_id))


def compute() -> None:
    began = time.thread_time()
    while time.thread_time() < began + 0.3:
        pass


def test_a_token_may_wait_for_the_cpu_and_may_not_take_it_for_long(engine: Engine) -> None:
    held = constraint(engine, Grammar("regex", "ab", "regex"))
    matcher, (first, second) = held._matcher, engine.encode("ab")
    held._matcher = Delayed(matcher, lambda: time.sleep(0.3))  # type: ignore[assignment]
    held.accept(first)
    held._matcher = Delayed(matcher, compute)  # type: ignore[assignment]
    with pytest.raises(NoFittingText):
        held.accept(second)


@pytest.mark.parametrize("alone_s", [-1.0, 60.0])
def test_masks_are_the_same_whichever_thread_computes_them(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, alone_s: float
) -> None:
    monkeypatch.setattr("inference.engine.grammar.constraint._ALONE_S", alone_s)
    texts = ["", "a", "ab", "abc"]
    together, apart = (
        [constraint(engine, Grammar("regex", "a?b?c?d", "regex")) for _ in texts] for _ in range(2)
    )
    for text, one, other in zip(texts, together, apart, strict=True):
        for token_id in engine.encode(text):
            one.accept(token_id)
            other.accept(token_id)
    engine.grammars.masks.compute(together)
    for one, other in zip(together, apart, strict=True):
        assert one.has_mask
        assert one.forced() == other.compute_mask().only
        assert one.allowed(may_end=False).ids.tolist() == other.allowed(may_end=False).ids.tolist()
