"""The unit of a step's work: consecutive tokens of one sequence."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens of one sequence that a step computes; the logits do not depend on where it is cut.

    Attributes:
        token_ids: the tokens.
        start: the position of the first of them in the sequence.
        blocks: the sequence's blocks of the KV cache, in the order of its tokens; enough for these tokens.
        logits: how many of the last tokens the step returns logits for.
        drafts: how many of the last tokens are guesses of what follows the text.
    """

    token_ids: list[int]
    start: int
    blocks: list[int]
    logits: int = 1
    drafts: int = 0

    @property
    def end(self) -> int:
        """The position after the last token."""
        return self.start + len(self.token_ids)


class Rows(NamedTuple):
    """What a pass computes, one number for each row.

    Attributes:
        token_ids, positions: of the segments' tokens, in order.
        read: the rows that logits are returned for.
    """

    token_ids: list[int]
    positions: list[int]
    read: list[int]


def rows_of(segments: Iterable[Segment]) -> Rows:
    """The rows of a pass."""
    rows = Rows([], [], [])
    for segment in segments:
        rows.token_ids.extend(segment.token_ids)
        rows.positions.extend(range(segment.start, segment.end))
        count = len(rows.token_ids)
        rows.read.extend(range(count - segment.logits, count))
    return rows
