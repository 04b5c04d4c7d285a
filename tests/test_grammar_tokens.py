"""Texts fit their schema whatever the tokens are: of bytes, with `▁` for a space, and of single bytes."""

import json
import random

import pytest

from inference.engine.config import EngineConfig
from inference.engine.detokenizer import Detokenizer
from inference.engine.grammar.compiler import GrammarCompiler
from inference.engine.grammar.source import Grammar
from inference.engine.tokenizer import HuggingFaceTokenizer
from tests.tokenizer_families import FAMILIES

SCHEMA = {
    "type": "object",
    "properties": {
        "a b": {"enum": ["世 é", "a  b", "😀"]},
        "é": {"type": "string", "minLength": 1, "maxLength": 4, "pattern": "^[ab é世😀]+$"},
    },
    "required": ["a b", "é"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("family", ["byte-level", "llama", "gemma", "unigram with bytes"])
def test_a_text_with_spaces_and_other_alphabets_fits_and_joins_exactly(family: str) -> None:
    wrapped = FAMILIES[family]()
    tokenizer = HuggingFaceTokenizer(wrapped, rows=len(wrapped))
    grammars = GrammarCompiler(tokenizer, EngineConfig(), eos_ids=(wrapped.eos_token_id,))
    try:
        grammar = grammars.compile(Grammar.of_schema(SCHEMA, field="json_schema"))
    finally:
        grammars.stop()
    prompt_ids = tokenizer.encode("a b")
    first = set()
    for seed in range(12):
        constraint = grammar.constraint(end_ids=frozenset(), stops=False)
        detokenizer = Detokenizer(tokenizer, prompt_ids, ())
        draw = random.Random(seed)  # noqa: S311
        token_ids: list[int] = []
        while allowed := constraint.allowed(may_end=True):
            token_ids.append(int(draw.choice(list(allowed.ids))))
            constraint.accept(token_ids[-1])
            detokenizer.append(token_ids[-1])
        detokenizer.finish()
        value = json.loads(detokenizer.text)
        assert constraint.fits(detokenizer.text)
        assert detokenizer.text == b"".join(map(tokenizer.token_bytes, token_ids)).decode()
        first.add(value["a b"])
    assert first >= {"世 é", "a  b"}
