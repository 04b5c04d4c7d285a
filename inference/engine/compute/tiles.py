"""What attention needs to know of a step's rows: where the past of each is in the KV cache."""

from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.segment import Segment


class Tiles:
    """The rows of a step as the kernels take them.

    Args:
        segments: in the order of their rows.

    Attributes:
        tiles: `[tiles, 4]`, each an `abi.Tile` of consecutive rows of a sequence in one block; those that
            take longest come first.
        tables: of each sequence, the numbers of its blocks in the order of its tokens.
    """

    def __init__(self, segments: list[Segment]) -> None:
        tables = [segment.blocks[: blocks_of(segment.end)] for segment in segments]
        self.tables: NDArray[np.int64] = np.fromiter(chain.from_iterable(tables), dtype=np.int64)
        tiles: list[tuple[int, int, int, int]] = []
        row = table = 0
        for segment, blocks in zip(segments, tables, strict=True):
            for first, last in by_block(segment):
                tiles.append((row, last - first, first, table))
                row += last - first
            table += len(blocks)
        tiles.sort(key=lambda tile: -tile[1] * (tile[2] + BLOCK))
        self.tiles: NDArray[np.int64] = np.array(tiles, dtype=np.int64).reshape(-1, 4)


def by_block(segment: Segment) -> Iterator[tuple[int, int]]:
    """The positions `[first, last)` of the segment's tokens in each of its blocks."""
    first = segment.start
    while first < segment.end:
        last = min(segment.end, (first // BLOCK + 1) * BLOCK)
        yield first, last
        first = last
