"""What is likely to follow in a text, told by the text itself (prompt look-up; Saxena, 2023)."""

from collections.abc import Iterable
from typing import Protocol

_LONGEST = 4
_SHORTEST = 2


class Drafter(Protocol):
    """Proposes tokens for one text. Its proposals decide how fast the text comes, and never what comes."""

    def extend(self, token_ids: Iterable[int]) -> None:
        """Learn that the text goes on with these tokens."""
        ...

    def propose(self, most: int) -> list[int]:
        """At most `most` tokens that are likely to come next; none where nothing tells."""
        ...


class NGramDrafter:
    """Proposes what followed the last 2 to 4 tokens where they stood before, the longest match first.

    An index of all n-grams tells where each was last, so a token costs the same however long the text is.
    """

    def __init__(self) -> None:
        self._text: list[int] = []
        self._ends: dict[tuple[int, ...], int] = {}
        """The position behind each n-gram of the text, without those that nothing follows yet."""

    def extend(self, token_ids: Iterable[int]) -> None:
        for token_id in token_ids:
            for n_gram in self._last():
                self._ends[n_gram] = len(self._text)
            self._text.append(token_id)

    def propose(self, most: int) -> list[int]:
        for n_gram in self._last():
            end = self._ends.get(n_gram)
            if end is not None:
                return self._text[end : end + most]
        return []

    def _last(self) -> list[tuple[int, ...]]:
        """The n-grams at the end of the text, the longest first."""
        last = tuple(self._text[-_LONGEST:])
        return [last[-size:] for size in range(len(last), _SHORTEST - 1, -1)]
