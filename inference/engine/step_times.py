"""How long steps take on this machine, learned from those that were computed."""

from dataclasses import dataclass

_KEPT = 0.99
"""What one more step leaves of the weight of those before it: the machine may be shared."""
_STEPS, _TOKENS, _POSITIONS = range(3)
_ROUNDS = 40
KNOWN_AFTER = 1024
"""Tokens. A first step is slow, since its memory is new, and would make a long prompt look hopeless."""
_WIDE = 16
"""Tokens of a step that tells about prompts. A step of one token tells only the sum of both times."""
_LONGEST = 10.0
"""Times as long as expected. A step that took longer was halted, as with its machine."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """What steps compute.

    Attributes:
        steps: how many there are; each reads the weights once.
        tokens: tokens in all of them.
        positions: the places of these tokens in their texts, added up: attention costs as much.
    """

    steps: float = 0.0
    tokens: float = 0.0
    positions: float = 0.0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            steps=self.steps + other.steps,
            tokens=self.tokens + other.tokens,
            positions=self.positions + other.positions,
        )


class StepTimes:
    """The time of a step, of a token in it and of a position, fitted to the steps so far.

    It is the least squares fit without negative times, by coordinate descent. A step improves it by one
    round, which takes microseconds, and by more if it did not take as long as expected.
    """

    def __init__(self) -> None:
        self._products = [[0.0] * 3 for _ in range(3)]
        self._sums = [0.0] * 3
        self._times = [0.0] * 3
        self._tokens = 0.0

    def observe(self, amount: Amount, seconds: float) -> None:
        """Learn from a step that computed this."""
        values = _values(amount)
        if (expected := self.seconds(amount)) > 0:
            seconds = min(seconds, _LONGEST * expected)
        if amount.tokens >= _WIDE:
            self._tokens += amount.tokens
        for i, value in enumerate(values):
            self._sums[i] = _KEPT * self._sums[i] + value * seconds
            row = self._products[i]
            for j, other in enumerate(values):
                row[j] = _KEPT * row[j] + value * other
        surprising = abs(self._fitted(amount) - seconds) > 0.1 * seconds
        for _ in range(_ROUNDS if surprising else 1):
            self._improve()

    def seconds(self, amount: Amount) -> float:
        """How long this is likely to take; 0 before `KNOWN_AFTER` tokens of prompts have been."""
        return self._fitted(amount) if self._tokens >= KNOWN_AFTER else 0.0

    def _fitted(self, amount: Amount) -> float:
        return sum(value * time for value, time in zip(_values(amount), self._times, strict=True))

    def _improve(self) -> None:
        times = self._times
        # Tokens come first: one step alone tells most about those.
        for i in (_TOKENS, _STEPS, _POSITIONS):
            row = self._products[i]
            if row[i]:
                explained = sum(row[j] * times[j] for j in range(3) if j != i)
                times[i] = max(0.0, (self._sums[i] - explained) / row[i])


def _values(amount: Amount) -> tuple[float, float, float]:
    return amount.steps, amount.tokens, amount.positions
