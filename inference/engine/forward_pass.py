"""What the engine's loop needs of a model."""

from typing import Any, Protocol

from inference.engine.blocks import BlockPool
from inference.engine.segment import Segment


class ForwardPass(Protocol):
    """The model, as the engine's loop needs it; `compute.model.LanguageModel` is one."""

    name: str
    context_length: int

    @property
    def blocks(self) -> BlockPool:
        """The blocks of its KV cache."""
        ...

    def use_threads(self, threads: int) -> None:
        """Compute on this many threads, in the calling thread from now on."""
        ...

    def forward(self, segments: list[Segment]) -> Any:
        """Compute the segments in one pass; returns logits, `[sum of segment.logits, vocabulary]`."""
        ...
