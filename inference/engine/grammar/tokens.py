"""The tokens of a model, as llguidance needs them, and its masks."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llguidance import LLParserLimits, LLTokenizer

from inference.engine.grammar.finite import Overflows
from inference.engine.grammar.masks import Mask, RawMasks, ReadMasks, read_masks
from inference.engine.token_set import TokenSet


class TokenTable:
    """The bytes of every token that the model can compute.

    Whether a text may end is llguidance's end token, which here is one of its own behind the last of the
    model: a model may have several end tokens or none, and requests can add more.

    Args:
        tokens: the bytes of each token, from id 0 on.
        special_ids: tokens that have no text.
        read_masks: reads what llguidance has computed.

    Attributes:
        overflows: which tokens make a number too large.
    """

    def __init__(
        self, tokens: Sequence[bytes], special_ids: Iterable[int], *, read_masks: ReadMasks = read_masks
    ) -> None:
        self.tokens = tuple(tokens)
        self.special_ids = tuple(sorted(set(special_ids)))
        wrapper: Any = _Wrapper(self.tokens, self.special_ids)
        self.overflows = Overflows(self.tokens)
        self.llguidance = LLTokenizer(wrapper)
        with_text = {token_id for token_id, token in enumerate(self.tokens) if token}
        self._with_text = self.token_set(with_text.difference(self.special_ids))
        self._read_masks = read_masks

    def token_set(self, token_ids: Iterable[int]) -> TokenSet:
        """A set of this model's tokens."""
        return TokenSet.of(token_ids, vocabulary_size=len(self.tokens))

    def new_masks(self, count: int) -> RawMasks:
        """Room for this many masks."""
        return np.zeros((count, len(self._with_text.words)), dtype=np.int32)

    def read(self, masks: RawMasks, control_ids: Sequence[int | None]) -> list[Mask]:
        """What may come next by each mask; it keeps their memory.

        Args:
            control_ids: of each, a special token that may come where the grammar names it; others never do.
        """
        return self._read_masks(masks, self._with_text, control_ids)


class _Wrapper:
    """What `LLTokenizer` reads."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: Sequence[bytes], special_ids: Sequence[int]) -> None:
        self.eos_token_id = len(tokens)
        self.tokens = [*tokens, b"\xff<end>"]
        self.special_token_ids = [*special_ids, self.eos_token_id]

    def __call__(self, text: str) -> list[int]:
        # It would tokenise text that the grammar forces. All grammars here leave that to the model (see
        # `llguidance_grammar`).
        return []


def parser_limits(*, states: int) -> Any:
    """The limits on the work of one step; a grammar that exceeds them fails in that step."""
    return LLParserLimits(
        max_lexer_states=states,
        step_lexer_fuel=100_000,  # about 7 ms
        step_max_items=20_000,
        verbose_errors=False,  # they contain what the client sent
    )
