"""How far to trust a drafter: each row that is computed for nothing costs a part of a step."""

from collections.abc import Iterable
from math import log

from inference.engine.drafter import Drafter

MOST_DRAFTED = 8
"""Tokens drafted for one text in a step."""
_CHEAP_ROWS = 16
"""Reading the weights takes most of a step with fewer rows. With more, each row costs its arithmetic."""
_FIRST_TRUST = 0.6
_MEMORY = 0.2
"""The weight of the newest token in the trust."""
_LEAST_LIKELY = 0.25
"""A token is drafted if it is at least so likely to be accepted. Its row takes 3 to 9 % of a step's time."""
_TRIED_EVERY = 12
"""Steps from one try to the next while the drafter is not trusted."""


def drafts_for_each(rows: int) -> int:
    """How many tokens each text may draft in a step that computes this many rows without any."""
    return max(0, min(MOST_DRAFTED, (_CHEAP_ROWS - rows) // rows)) if rows else 0


class Speculation:
    """Drafts for one text, longer or shorter by how the ones before have fared."""

    def __init__(self, drafter: Drafter, token_ids: Iterable[int]) -> None:
        self._drafter = drafter
        self._drafter.extend(token_ids)
        self._trust = _FIRST_TRUST
        self._untried = 0

    def append(self, token_id: int) -> None:
        """Learn the text's next token."""
        self._drafter.extend((token_id,))

    def propose(self, most: int) -> list[int]:
        """At most `most` tokens that may come next, in the order of the text."""
        trusted = int(log(_LEAST_LIKELY) / log(self._trust))
        if not trusted:
            self._untried += 1
            trusted = int(self._untried >= _TRIED_EVERY)
        return self._drafter.propose(min(most, trusted)) if min(most, trusted) > 0 else []

    def learn(self, *, drafted: int, accepted: int) -> None:
        """Learn how many of the tokens drafted were accepted."""
        if not drafted:
            return
        self._untried = 0
        for _ in range(accepted):
            self._trust += _MEMORY * (1 - self._trust)
        if accepted < drafted:
            self._trust -= _MEMORY * self._trust
        self._trust = min(max(self._trust, 0.05), 0.95)
