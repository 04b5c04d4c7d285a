"""How long requests took: counts in buckets of doubling width, which add up over days, keys and endpoints.

The mean is exact. A quantile is estimated from the bucket that it lies in, so it is at most twice or half of
the true one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Self

# 10 ms to 164 s: from the first token of a tiny model to the longest text of the default time limit.
BOUNDS_MS: tuple[int, ...] = tuple(10 * 2**doubled for doubled in range(15))
LONGEST_MS = BOUNDS_MS[-1]


class Measure(StrEnum):
    """What is measured of a request that has finished, from its admission on; starts the names of columns."""

    FIRST_TOKEN = "first_token"  # noqa: S105 — a token of text
    TOTAL = "total"

    @property
    def sum_column(self) -> str:
        """The column that sums the milliseconds."""
        return f"{self}_ms"

    @property
    def bucket_columns(self) -> tuple[str, ...]:
        """The columns that count requests, one for each bucket; the last is for all above the last bound."""
        return (*(f"{self}_to_{bound}" for bound in BOUNDS_MS), f"{self}_above")

    @property
    def columns(self) -> tuple[str, ...]:
        return (self.sum_column, *self.bucket_columns)

    def counted(self, ms: int | None) -> dict[str, int]:
        """What one request adds to the columns; nothing where it was not measured."""
        if ms is None:
            return {}
        bucket = next((index for index, bound in enumerate(BOUNDS_MS) if ms <= bound), len(BOUNDS_MS))
        return {self.sum_column: ms, self.bucket_columns[bucket]: 1}


COLUMNS = tuple(column for measure in Measure for column in measure.columns)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """How long `count` requests took, in milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p95_ms: float

    @classmethod
    def of(cls, values: Sequence[int]) -> Self | None:
        """Of the values of a measure's `columns`; None if no request was measured."""
        total_ms, *buckets = values
        if not (count := sum(buckets)):
            return None
        return cls(
            count=count,
            mean_ms=total_ms / count,
            p50_ms=quantile(buckets, 0.5),
            p95_ms=quantile(buckets, 0.95),
        )


def quantile(buckets: Sequence[int], part: float) -> float:
    """The time within which this part of the requests ended, at most `LONGEST_MS`; some must be counted."""
    rank = part * sum(buckets)
    below = 0
    for count, (low, high) in zip(buckets, pairwise((0, *BOUNDS_MS)), strict=False):
        if count and below + count >= rank:
            return low + (high - low) * (rank - below) / count
        below += count
    return float(LONGEST_MS)
