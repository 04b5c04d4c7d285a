"""The unit of a step's work: consecutive tokens of one sequence."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens of one sequence that a step computes; the logits do not depend on where it is cut.

    Attributes:
        token_ids: the tokens.
        start: the position of the first of them in the sequence.
        blocks: the sequence's blocks of the KV cache, in the order of its tokens; enough for these tokens.
        logits: how many of the last tokens the step returns logits for.
    """

    token_ids: list[int]
    start: int
    blocks: list[int]
    logits: int = 1
