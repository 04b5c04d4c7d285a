"""The unit of a step's work: consecutive tokens of one sequence."""

from dataclasses import dataclass

from inference.engine.slots import Slots

TILE = 16
"""Prompt tokens that attention computes together. A prompt may be cut into segments at any multiple of this;
the result does not depend on where."""


@dataclass(frozen=True)
class Segment:
    """Consecutive tokens of one sequence that a step computes.

    Attributes:
        token_ids: the tokens.
        start: the position of the first of them in the sequence.
        slots: the sequence's slots of the KV cache.
        logits: how many of the last tokens the step returns logits for.
    """

    token_ids: list[int]
    start: int
    slots: Slots
    logits: int = 1
