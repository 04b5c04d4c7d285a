"""The forward pass of a compiled model: the packed segments of a step through two native programs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.engine.blocks import BlockPool
from inference.engine.compute.compiled.inputs import LayerInput
from inference.engine.compute.compiled.tables import Floats
from inference.engine.compute.layer_program.runner import Program, ProgramRunner
from inference.engine.compute.tiles import Tiles
from inference.engine.kv_cache import KVCache
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment, rows_of


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """What a model computes.

    Attributes:
        inputs: what the first layer is given.
        layers: from there to the hidden states that the LM head is given, `[rows, width]`.
        head: from these to logits, `[rows, vocabulary]`.
        owner: keeps the weights alive, whose addresses the programs have.
    """

    inputs: Sequence[LayerInput]
    layers: Program
    head: Program
    owner: object


class CompiledPass:
    """Runs a compiled model, in one thread at a time."""

    def __init__(self, compiled: Compiled, kernels: Kernels) -> None:
        self._compiled = compiled
        self._layers = ProgramRunner(compiled.layers, kernels)
        self._head = ProgramRunner(compiled.head, kernels)

    def forward(self, segments: list[Segment], cache: KVCache) -> Floats:
        """Compute the segments in one pass, and store their keys and values.

        Returns:
            The logits after the last `segment.logits` tokens of each segment, in order: `[sum of
            segment.logits, vocabulary]`; valid until the next call.
        """
        token_ids, positions, read = rows_of(segments)
        given = np.array(token_ids, dtype=np.int64), np.array(positions, dtype=np.int64)
        inputs = [one.rows(*given) for one in self._compiled.inputs]
        tiles = Tiles(segments)
        hidden = self._layers.run(
            len(token_ids), [one.ctypes.data for one in inputs], cache=cache, tiles=tiles
        )
        states = hidden if len(read) == len(hidden) else hidden[read]
        return self._head.run(len(read), [states.ctypes.data])


class CompiledModel:
    """A compiled model that computes many sequences at once: a `ForwardPass`.

    Args:
        name: the name of the model that clients see.
        context_length: tokens that a sequence may have.
        cache: keys and values of all sequences.
    """

    def __init__(
        self, compiled: Compiled, *, name: str, context_length: int, cache: KVCache, kernels: Kernels
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.cache = cache
        self._kernels = kernels
        self._pass = CompiledPass(compiled, kernels)

    @property
    def blocks(self) -> BlockPool:
        """The blocks of its KV cache."""
        return self.cache.blocks

    def use_threads(self, threads: int) -> None:
        """Compute on this many threads from now on."""
        self._kernels.threads = threads

    def forward(self, segments: list[Segment]) -> Floats:
        """Compute the segments in one pass, as `CompiledPass.forward` does.

        A pass changes only the segments' own tokens in the KV cache, so a failed pass can be repeated.
        """
        return self._pass.forward(segments, self.cache)
