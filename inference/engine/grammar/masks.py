"""Which tokens may come next, as llguidance tells it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.engine.token_set import TokenSet

RawMasks = NDArray[np.int32]
"""As llguidance writes them, `[count, words]`: a bit for each token, then whether the text may end."""


class Mask(NamedTuple):
    """What may come next.

    Attributes:
        tokens: which tokens.
        only: the one token that may come next; None if there are others, or the text may end.
        ends: whether the text may end.
    """

    tokens: TokenSet
    only: int | None
    ends: bool


class ReadMasks(Protocol):
    """Reads masks; `read_masks` is one, and the native kernels have a faster one."""

    def __call__(self, masks: RawMasks, readable: TokenSet, control_ids: Sequence[int | None]) -> list[Mask]:
        """What may come next by each mask.

        Args:
            masks: at least one; what is read keeps their memory, and changes it.
            readable: the tokens that may come next wherever a mask has them.
            control_ids: of each mask, another one of these tokens.
        """
        ...


def read_masks(masks: RawMasks, readable: TokenSet, control_ids: Sequence[int | None]) -> list[Mask]:
    """Read masks with NumPy alone."""
    size = readable.vocabulary_size
    rows = masks.view(np.uint32)
    ends = [bool(end >> size % 32 & 1) for end in rows[:, size // 32].tolist()]
    named = [
        (row, control_id)
        for row, control_id in enumerate(control_ids)
        if control_id is not None and rows[row, control_id // 32] >> control_id % 32 & 1
    ]
    rows &= readable.words
    for row, control_id in named:
        rows[row, control_id // 32] |= np.uint32(1 << control_id % 32)
    counts = np.bitwise_count(rows).sum(axis=1, dtype=np.uint32).tolist()
    read = []
    for words, count, end in zip(rows, counts, ends, strict=True):
        tokens = TokenSet(words, size, count)
        read.append(Mask(tokens, int(tokens.ids[0]) if count == 1 and not end else None, end))
    return read
