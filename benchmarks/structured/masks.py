"""How long the masks of texts take, in this process, with the model's own tokens."""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from inference.engine.config import EngineConfig
from inference.engine.errors import InvalidGrammar
from inference.engine.grammar.compiler import GrammarCompiler
from inference.engine.grammar.source import Grammar
from inference.engine.tokenizer import HuggingFaceTokenizer


def mask_times_s(model: Path, texts: Iterable[tuple[Any, str]]) -> list[float]:
    """The time of each mask along the texts of schemas.

    Args:
        model: the folder of the model that the service serves.
        texts: each with its schema.
    """
    wrapped = AutoTokenizer.from_pretrained(model)
    tokenizer = HuggingFaceTokenizer(wrapped, rows=len(wrapped))
    grammars = GrammarCompiler(tokenizer, EngineConfig(), eos_ids=())
    times = []
    try:
        for schema, text in texts:
            try:
                grammar = grammars.compile(Grammar.of_schema(schema, field="schema"))
            except InvalidGrammar:
                continue
            constraint = grammar.constraint(end_ids=frozenset(), stops=False)
            for token_id in tokenizer.encode(text, special_tokens=False):
                began = time.perf_counter()
                grammars.masks.compute([constraint])
                times.append(time.perf_counter() - began)
                if token_id not in constraint.allowed(may_end=True):
                    break  # a cut text may end within a character
                constraint.accept(token_id)
    finally:
        grammars.stop()
    return times
