"""What a model's layers are given for each row: it depends on the row's token and its position alone."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np

from inference.engine.blocks import BLOCK
from inference.engine.compute.compiled.tables import Floats, Integers, PackedRows, Table

Function = Literal["cos", "sin"]
Layout = Literal["halves", "pairs", "once"]


class LayerInput(Protocol):
    """One of the tensors that the first layer is given."""

    def rows(self, token_ids: Integers, positions: Integers) -> Floats:
        """`[rows, width]`, dense; a row has the same bits whatever the others are."""
        ...


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """The embedding of a token, and that of its position if the model has learned some.

    Attributes:
        scale: what the token's is multiplied by; None leaves it.
        offset: of position 0 in `positions`.
    """

    tokens: Table | PackedRows
    scale: float | None = None
    positions: Table | None = None
    offset: int = 0

    def rows(self, token_ids: Integers, positions: Integers) -> Floats:
        rows = self.tokens.rows(token_ids)
        if self.scale is not None:
            rows *= np.float32(self.scale)
        if self.positions is not None:
            rows += self.positions.rows(positions + self.offset)
        return rows


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """The cosines or sines of the angles by which rotary positions turn queries and keys (Su et al., 2021).

    They are computed in float64, for a block of positions at a time, when one of these is first asked for: so
    their bits depend on nothing else. The memory is used as they are.

    Attributes:
        frequencies: what a position is multiplied by, in float32, for each angle.
        scaling: of the results.
        layout: how a row has them: all angles twice ("halves"), each angle twice ("pairs"), or "once".
        context_length: positions that there are.
    """

    frequencies: Floats
    scaling: float
    function: Function
    layout: Layout
    context_length: int

    def rows(self, token_ids: Integers, positions: Integers) -> Floats:
        rows, known = self._table
        blocks = positions // BLOCK
        for block in set(blocks[~known[blocks]].tolist()):
            first = block * BLOCK
            rows[first : first + BLOCK] = self.computed(np.arange(first, first + BLOCK))
            known[block] = True
        return rows[positions]

    def computed(self, positions: Integers) -> Floats:
        """The rows of these positions, computed anew."""
        angles = positions.astype(np.float32)[:, None] * self.frequencies
        compute = np.cos if self.function == "cos" else np.sin
        values = compute(angles.astype(np.float64)).astype(np.float32) * np.float32(self.scaling)
        match self.layout:
            case "halves":
                return np.concatenate([values, values], axis=1)
            case "pairs":
                return np.repeat(values, 2, axis=1)
            case "once":
                return values

    @cached_property
    def _table(self) -> tuple[Floats, "np.ndarray[tuple[int], np.dtype[np.bool_]]"]:
        """A row for each position, and which blocks of them have been computed."""
        blocks = -(-self.context_length // BLOCK)
        width = len(self.frequencies) * (1 if self.layout == "once" else 2)
        return np.empty((blocks * BLOCK, width), dtype=np.float32), np.zeros(blocks, dtype=np.bool_)
