"""From the logits of a step to the tokens of its texts."""

import logging
from collections.abc import Callable

from inference.engine.errors import EngineError, GenerationFailed
from inference.engine.grammar.constraint import Masks
from inference.engine.segment import Segment
from inference.engine.sequence import Sequence
from inference.engine.top_k import Array

logger = logging.getLogger(__name__)


class Selection:
    """Has sequences choose their tokens; one that fails does so alone.

    Args:
        masks: gives what computes the masks of grammars; called once there is a grammar.
        forces: tokens that a grammar leaves no choice of are added without their logits.
        clock: the engine's.
    """

    def __init__(self, masks: Callable[[], Masks], *, forces: bool, clock: Callable[[], float]) -> None:
        self._masks = masks
        self._forces = forces
        self._clock = clock

    def advance(self, plan: list[tuple[Sequence, Segment]], logits: Array) -> None:
        """Take what a step has computed.

        Args:
            logits: `[sum of segment.logits, vocabulary]`.
        """
        self._compute_masks([sequence for sequence, segment in plan if sequence.chooses_after(segment)])
        row = 0
        for sequence, segment in plan:
            rows = logits[row : row + segment.logits]
            row += segment.logits
            if not sequence.finished:  # its mask may have failed
                try:
                    sequence.advance(segment, rows, now=self._clock())
                except Exception as error:
                    self._end(sequence, error)
        if self._forces:
            self._force([sequence for sequence, _ in plan])

    def _compute_masks(self, sequences: list[Sequence]) -> None:
        """Compute the masks that are missing. If that fails, one by one, so that only the cause fails."""
        held = [one for one in sequences if one.constraint is not None and not one.constraint.has_mask]
        try:
            if held:
                self._masks().compute([one.constraint for one in held if one.constraint is not None])
        except Exception:
            logger.exception("Computing %d masks failed.", len(held))
            if len(held) == 1:
                failed = GenerationFailed("The grammar of this request cannot be followed.")
                held[0].fail(failed, now=self._clock())
                return
            for sequence in held:
                self._compute_masks([sequence])

    def _force(self, sequences: list[Sequence]) -> None:
        """Add the tokens that are forced; the masks that tell of others are those of the next step."""
        while sequences := [sequence for sequence in sequences if sequence.may_be_forced]:
            self._compute_masks(sequences)
            forced = []
            for sequence in sequences:
                try:
                    if not sequence.finished and sequence.force(now=self._clock()):
                        forced.append(sequence)
                except Exception as error:
                    self._end(sequence, error)
            sequences = forced

    def _end(self, sequence: Sequence, error: Exception) -> None:
        """End this sequence alone by what it has raised."""
        if not isinstance(error, EngineError):
            logger.error("Choosing the next token failed.", exc_info=error)
            error = GenerationFailed("The model's output for this request could not be read.")
        sequence.fail(error, now=self._clock())
