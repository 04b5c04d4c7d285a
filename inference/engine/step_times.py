"""How long steps take on this machine, learned from those that were computed."""

from dataclasses import dataclass

_KEPT = 0.99
"""What one more step leaves of the weight of those before it: the machine may be shared."""
_STEPS, _TOKENS, _POSITIONS = range(3)


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
    """A time for each step, each token and each position, fitted to the steps so far.

    It is the least squares fit without negative times, by coordinate descent: each step improves it by one
    round, which takes microseconds.
    """

    def __init__(self) -> None:
        self._products = [[0.0] * 3 for _ in range(3)]
        self._sums = [0.0] * 3
        self._times = [0.0] * 3

    def observe(self, amount: Amount, seconds: float) -> None:
        """Learn from a step that computed this."""
        values = _values(amount)
        for i, value in enumerate(values):
            self._sums[i] = _KEPT * self._sums[i] + value * seconds
            row = self._products[i]
            for j, other in enumerate(values):
                row[j] = _KEPT * row[j] + value * other
        # Tokens come first: one step alone tells most about those.
        for i in (_TOKENS, _STEPS, _POSITIONS):
            row, times = self._products[i], self._times
            if row[i]:
                explained = sum(row[j] * times[j] for j in range(3) if j != i)
                times[i] = max(0.0, (self._sums[i] - explained) / row[i])

    def seconds(self, amount: Amount) -> float:
        """How long this is likely to take; 0 before the first step."""
        return sum(value * time for value, time in zip(_values(amount), self._times, strict=True))


def _values(amount: Amount) -> tuple[float, float, float]:
    return amount.steps, amount.tokens, amount.positions
