"""How far to trust a drafter: each row that is computed for nothing costs a part of a step."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from math import log

from inference.engine.drafter import Drafter

MOST_DRAFTED = 8
"""Tokens drafted for one text in a step."""
_CHEAP_ROWS = 16
"""Reading the weights takes most of a step with fewer rows. With more, each row costs its arithmetic."""
_FIRST_TRUST = 0.6
_MEMORY = 0.15
"""The weight of the newest token in the trust."""
_LEAST_LIKELY = 0.15
"""A token at least this likely to be accepted is drafted. Its row takes 3 to 9 % of a step's time, and
up to 16 % with 4-bit weights."""
_TRIED_EVERY = 12
"""Steps with guesses from one try to the next while none of their evidence is trusted."""


def drafts_for_each(rows: int) -> int:
    """How many tokens each text may draft in a step that computes this many rows without any."""
    return max(0, min(MOST_DRAFTED, (_CHEAP_ROWS - rows) // rows)) if rows else 0


class Speculation:
    """Drafts for one text, by the evidence that has fared best, longer or shorter by how well that was.

    Evidence has a trust of its own: how likely the next token that it tells is to be accepted.
    """

    def __init__(self, drafter: Drafter, prompt: Iterable[int]) -> None:
        self._drafter = drafter
        self._drafter.begin(prompt)
        self._trust: defaultdict[Hashable, float] = defaultdict(lambda: _FIRST_TRUST)
        self._followed: Hashable = None
        self._untried = 0

    def append(self, token_id: int) -> None:
        """Learn the text's next token."""
        self._drafter.append(token_id)

    def propose(self, most: int) -> list[int]:
        """At most `most` tokens that may come next, in the order of the text."""
        guesses = self._drafter.guesses(most) if most > 0 else []
        if not guesses:
            return []
        guess = max(guesses, key=lambda guess: self._trust[guess.evidence])
        self._followed = guess.evidence
        trusted = int(log(_LEAST_LIKELY) / log(self._trust[guess.evidence]))
        if not trusted:
            self._untried += 1
            trusted = int(self._untried >= _TRIED_EVERY)
        return guess.token_ids[:trusted]

    def learn(self, *, drafted: int, accepted: int) -> None:
        """Learn how many of the tokens proposed last were accepted."""
        if not drafted:
            return
        self._untried = 0
        trust = self._trust[self._followed]
        for _ in range(accepted):
            trust += _MEMORY * (1 - trust)
        if accepted < drafted:
            trust -= _MEMORY * trust
        self._trust[self._followed] = min(max(trust, 0.05), 0.95)
