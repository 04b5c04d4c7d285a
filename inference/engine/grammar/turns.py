"""Who may compile a grammar now: a few at once, and of one owner fewer."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from inference.engine.errors import Overloaded

NICENESS = 10
"""Of whatever compiles grammars. The engine comes first: its threads wait for each other, so what one of them
loses all lose."""


@dataclass(frozen=True, eq=False)
class _Ticket:
    owner: str


class Turns:
    """Gives turns in the order in which they are asked for, past owners that have all of theirs.

    Args:
        at_once: the most turns at a time.
        of_one_owner: the most of them that one owner has.
    """

    def __init__(self, *, at_once: int, of_one_owner: int) -> None:
        self._at_once = at_once
        self._of_one_owner = of_one_owner
        self._changed = threading.Condition()
        self._taken: Counter[str] = Counter()
        self._waiting: list[_Ticket] = []

    @contextmanager
    def turn(self, owner: str, *, within_s: float) -> Iterator[None]:
        """Wait for a turn, and have it while the block runs.

        Raises:
            Overloaded: none came in time.
        """
        ticket = _Ticket(owner)
        with self._changed:
            self._waiting.append(ticket)
            came = self._changed.wait_for(lambda: self._is_next(ticket), within_s)
            self._waiting.remove(ticket)
            self._taken[owner] += came
            self._changed.notify_all()
        if not came:
            raise Overloaded(retry_after_s=1)
        try:
            yield
        finally:
            with self._changed:
                self._taken[owner] -= 1
                self._taken += Counter()  # forgets owners without a turn
                self._changed.notify_all()

    def _is_next(self, ticket: _Ticket) -> bool:
        if self._taken.total() >= self._at_once:
            return False
        free = (other for other in self._waiting if self._taken[other.owner] < self._of_one_owner)
        return next(free, None) is ticket
