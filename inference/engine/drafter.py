"""What is likely to follow in a text, told by the text itself (prompt look-up; Saxena, 2023)."""

from collections.abc import Hashable, Iterable
from typing import NamedTuple, Protocol

_LONGEST = 4


class Guess(NamedTuple):
    """Tokens that may come next.

    Attributes:
        evidence: what tells so. Guesses by the same evidence tend to be right equally often.
    """

    evidence: Hashable
    token_ids: list[int]


class Drafter(Protocol):
    """Proposes tokens for one text. Its proposals decide how fast the text comes, and never what comes."""

    def begin(self, token_ids: Iterable[int]) -> None:
        """Learn what the text begins with: its prompt."""
        ...

    def append(self, token_id: int) -> None:
        """Learn that the text goes on with this token."""
        ...

    def guesses(self, most: int) -> list[Guess]:
        """What may come next, each at most `most` tokens and at least one; the best evidence first."""
        ...


class NGramDrafter:
    """Proposes what followed the last 1 to 4 tokens where they stood before, in the answer and in the prompt.

    How many tokens are the same, and where, is the evidence: records in a list repeat the answer, and names
    that are copied the prompt. An index of all n-grams tells where each was last, so a token costs the same
    however long the text is.
    """

    def __init__(self) -> None:
        self._text: list[int] = []
        self._in_prompt: dict[tuple[int, ...], int] = {}
        self._in_answer: dict[tuple[int, ...], int] = {}
        """The position behind each n-gram, without those that nothing follows yet."""

    def begin(self, token_ids: Iterable[int]) -> None:
        for token_id in token_ids:
            self._add(token_id, self._in_prompt)

    def append(self, token_id: int) -> None:
        self._add(token_id, self._in_answer)

    def guesses(self, most: int) -> list[Guess]:
        found = [
            (len(n_gram), ends is self._in_answer, ends.get(n_gram))
            for n_gram in self._last()
            for ends in (self._in_answer, self._in_prompt)
        ]
        return [
            Guess((size, in_answer), self._text[end : end + most])
            for size, in_answer, end in found
            if end is not None
        ]

    def _add(self, token_id: int, ends: dict[tuple[int, ...], int]) -> None:
        for n_gram in self._last():
            ends[n_gram] = len(self._text)
        self._text.append(token_id)

    def _last(self) -> list[tuple[int, ...]]:
        """The n-grams at the end of the text, the longest first."""
        last = tuple(self._text[-_LONGEST:])
        return [last[-size:] for size in range(len(last), 0, -1)]
