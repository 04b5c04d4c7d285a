"""Tables that a model looks a row up in for each token: its embeddings."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from inference.engine.native.abi import PANEL

_SHIFT = 128
"""What 8-bit weights in panels have too much."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class Rows(Protocol):
    """Rows of numbers."""

    def rows(self, indices: Integers) -> Floats:
        """The rows with these indices, `[len(indices), width]`, in float32; a copy."""
        ...


@dataclass(frozen=True)
class Table:
    """Rows that lie as they are.

    Attributes:
        numbers: `[count, width]`, in float32 or float16; bfloat16 has NumPy's type uint16.
    """

    numbers: NDArray[Any]

    def rows(self, indices: Integers) -> Floats:
        taken = self.numbers[indices]
        if taken.dtype == np.uint16:
            return (taken.astype(np.uint32) << 16).view(np.float32)
        return taken.astype(np.float32, copy=False)


@dataclass(frozen=True)
class PackedRows:
    """The output channels of a linear layer in 8 bits, as it multiplies them.

    Attributes:
        weights: `[panels, inputs / 4, 16, 4]`, unsigned: 128 more than the levels.
        scales: of the channels.
        input_scales: of the inputs; their number is the width of a row.
    """

    weights: NDArray[np.uint8]
    scales: Floats
    input_scales: Floats

    def rows(self, indices: Integers) -> Floats:
        dots = self.weights.view(np.int32)[..., 0]
        levels = dots[indices // PANEL, :, indices % PANEL].view(np.uint8)
        rows = levels[:, : len(self.input_scales)].astype(np.float32) - np.float32(_SHIFT)
        rows *= self.scales[indices, None]
        rows *= self.input_scales
        return rows
