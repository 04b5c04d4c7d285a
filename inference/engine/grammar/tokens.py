"""The tokens of a model, as llguidance needs them, and its masks."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from llguidance import LLParserLimits, LLTokenizer
from numpy.typing import NDArray

from inference.engine.grammar.finite import Overflows

Mask = NDArray[np.int32]
Allowed = NDArray[np.bool_]


class TokenTable:
    """The bytes of every token that the model can compute.

    Whether a text may end is llguidance's end token, which here is one of its own behind the last of the
    model: a model may have several end tokens or none, and requests can add more.

    Args:
        tokens: the bytes of each token, from id 0 on.
        special_ids: tokens that have no text.

    Attributes:
        words: how many 32-bit words a mask has.
        overflows: which tokens make a number too large.
    """

    def __init__(self, tokens: Sequence[bytes], special_ids: Iterable[int]) -> None:
        self.tokens = tuple(tokens)
        self.special_ids = tuple(sorted(set(special_ids)))
        self.words = (len(self.tokens) + 1 + 31) // 32
        wrapper: Any = _Wrapper(self.tokens, self.special_ids)
        self.overflows = Overflows(self.tokens)
        self.llguidance = LLTokenizer(wrapper)
        self._has_text = np.array([bool(token) for token in self.tokens])
        self._has_text[list(self.special_ids)] = False

    def new_masks(self, count: int) -> Mask:
        """Room for this many masks, `[count, words]`."""
        return np.zeros((count, self.words), dtype=np.int32)

    def read(self, mask: Mask, *, control_id: int | None = None) -> tuple[Allowed, bool]:
        """Which tokens may come next, `[vocabulary]`, and whether the text may end.

        Args:
            control_id: a special token that may come where the grammar names it; others never do.
        """
        bits = np.unpackbits(mask.view(np.uint8), count=len(self.tokens) + 1, bitorder="little").view(
            np.bool_
        )
        allowed = bits[:-1] & self._has_text
        if control_id is not None:
            allowed[control_id] = bits[control_id]
        return allowed, bool(bits[-1])

    def only(self, mask: Mask) -> int | None:
        """The one token that may come next; None if there are others, or the text may end."""
        words = mask.view(np.uint32)
        if np.bitwise_count(words).sum() != 1:
            return None
        word = int(words.argmax())
        token_id = 32 * word + int(words[word]).bit_length() - 1
        return token_id if token_id < len(self.tokens) and self._has_text[token_id] else None


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
