"""Runs a program: what it does for a step's rows, and the memory that it needs for that."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inference.engine.compute.tiles import Tiles
from inference.engine.kv_cache import CachedLayer, KVCache
from inference.engine.native.abi import Cache
from inference.engine.native.instructions import Step
from inference.engine.native.kernels import Kernels

_LINE = 64
"""Bytes of a cache line, at a multiple of which the workspace begins."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """What to do with a step's rows.

    Attributes:
        instructions: an array of `Instruction`.
        attentions: the layer of each attention in the KV cache.
        floats_per_row: size of the workspace.
        output: where the result begins in the workspace, in floats per row.
        width: floats per row of the result.
        constants: what the instructions read and nothing else keeps alive.
    """

    instructions: Any
    attentions: list[CachedLayer]
    floats_per_row: int
    output: int
    width: int
    constants: Sequence[NDArray[np.float32]]


class ProgramRunner:
    """Runs one program, in one thread at a time."""

    def __init__(self, program: Program, kernels: Kernels) -> None:
        self._program = program
        self._kernels = kernels
        self._workspace = np.empty(0, dtype=np.float32)
        self._cache: KVCache | None = None
        self._caches: Any = None

    def run(
        self, rows: int, inputs: Sequence[int], *, cache: KVCache | None = None, tiles: Tiles | None = None
    ) -> NDArray[np.float32]:
        """Compute a step.

        Args:
            inputs: the addresses of dense float32 tensors.
            cache, tiles: if the program has attention, keys and values, and which rows are whose.

        Returns:
            `[rows, width]`; valid until the next call.
        """
        program = self._program
        if self._workspace.size < rows * program.floats_per_row:
            self._workspace = _at_a_line(rows * program.floats_per_row)
        if cache is not None and self._cache is not cache:
            self._cache = cache
            pools = cache.pools(program.attentions)
            self._caches = (Cache * len(pools))(*(Cache.of(*pair) for pair in pools))
        self._kernels.run(
            program.instructions,
            Step(
                rows=rows,
                workspace=self._workspace.ctypes.data,
                inputs=(ctypes.c_void_p * len(inputs))(*inputs),
                caches=self._caches,
                tiles=None if tiles is None else tiles.tiles.ctypes.data,
                tile_count=0 if tiles is None else len(tiles.tiles),
                tables=None if tiles is None else tiles.tables.ctypes.data,
            ),
        )
        first = program.output * rows
        return self._workspace[first : first + program.width * rows].reshape(rows, program.width)


def _at_a_line(count: int) -> NDArray[np.float32]:
    """So many floats with undefined content."""
    memory = np.empty(count * 4 + _LINE, dtype=np.uint8)
    first = -memory.ctypes.data % _LINE
    return memory[first : first + count * 4].view(np.float32)
