"""Which tokens of a vocabulary may come next."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]


class TokenSet:
    """A set of tokens, a bit each: as bytes, those of a large vocabulary take longer to read than to compute.

    Attributes:
        words: token `i` is bit `i % 32` of word `i // 32`; there is at least one bit more than tokens, and
            those behind the last token are 0.
        vocabulary_size: how many tokens there are.

    Args:
        count: how many are in the set; None counts them if someone asks.
    """

    __slots__ = ("_count", "vocabulary_size", "words")

    def __init__(self, words: Words, vocabulary_size: int, count: int | None = None) -> None:
        self.words = words
        self.vocabulary_size = vocabulary_size
        self._count = count

    @classmethod
    def of(cls, token_ids: Iterable[int], *, vocabulary_size: int) -> "TokenSet":
        """The set of these tokens."""
        bits = np.zeros(32 * (vocabulary_size // 32 + 1), dtype=np.bool_)
        bits[list(token_ids)] = True
        return cls(np.packbits(bits, bitorder="little").view(np.uint32), vocabulary_size)

    def __contains__(self, token_id: int) -> bool:
        return bool(int(self.words[token_id // 32]) >> token_id % 32 & 1)

    def __bool__(self) -> bool:
        return len(self) > 0

    def __len__(self) -> int:
        if self._count is None:
            self._count = int(np.bitwise_count(self.words).sum())
        return self._count

    def __or__(self, other: "TokenSet") -> "TokenSet":
        return TokenSet(self.words | other.words, self.vocabulary_size)

    def __sub__(self, other: "TokenSet") -> "TokenSet":
        return TokenSet(self.words & ~other.words, self.vocabulary_size)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The tokens, ascending."""
        bits = np.unpackbits(self.words.view(np.uint8), count=self.vocabulary_size, bitorder="little")
        return bits.nonzero()[0]
