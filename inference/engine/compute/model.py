"""The forward pass of a hooked model: the packed segments of a step through its own code."""

from typing import Any

import torch
from transformers import PreTrainedModel

from inference.engine.blocks import BlockPool
from inference.engine.compute.attention import AttentionBatch
from inference.engine.compute.path import ComputePath
from inference.engine.compute.tensor_cache import TensorCache
from inference.engine.kv_cache import KVCache
from inference.engine.segment import Segment, rows_of


class LanguageModel:
    """A hooked model that computes many sequences at once; `prepare.complete` makes one.

    Args:
        model: hooked for `path`.
        name: the name of the model that clients see.
        context_length: tokens that a sequence may have.
        vocabulary_size: token ids that it takes and has logits for, from 0.
        cache: keys and values of all sequences.
        path: how it is computed.
        reproducible: a row's logits have the same bits alone and in any batch.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        name: str,
        context_length: int,
        vocabulary_size: int,
        cache: KVCache,
        path: ComputePath,
        reproducible: bool,
    ) -> None:
        self.name = name
        self.context_length = context_length
        self.vocabulary_size = vocabulary_size
        self.cache = cache
        self.path = path
        self.reproducible = reproducible
        self._model = model
        self._tensors = TensorCache(cache, path.device)

    @property
    def blocks(self) -> BlockPool:
        """The blocks of its KV cache."""
        return self.cache.blocks

    def use_threads(self, threads: int) -> None:
        """Compute on this many threads, in the calling thread from now on."""
        if self.path.kernels:
            self.path.kernels.threads = threads
        # Beside native layers PyTorch has little to do, and its threads would compete with the kernels'.
        torch.set_num_threads(1 if self.path.layers.native else threads)

    @torch.inference_mode()
    def forward(self, segments: list[Segment]) -> torch.Tensor:
        """Compute the segments in one pass, and store their keys and values.

        A pass changes only the segments' own tokens in the KV cache, so a failed pass can be repeated.

        Returns:
            The logits after the last `segment.logits` tokens of each segment, in order, on the CPU:
            `[sum of segment.logits, vocabulary]`.
        """
        return forward(self._model, segments, cache=self._tensors, path=self.path)


def forward(
    model: PreTrainedModel, segments: list[Segment], *, cache: TensorCache, path: ComputePath
) -> torch.Tensor:
    """`LanguageModel.forward` for a model that is still being prepared."""
    rows = rows_of(segments)

    def padded(numbers: list[int]) -> torch.Tensor:
        """One number for each row; the rows that are added are computed and not read."""
        missing = path.layers.least_rows - len(numbers)
        return torch.tensor(numbers + [0] * missing, device=path.device)

    output: Any = model(
        input_ids=padded(rows.token_ids)[None],
        position_ids=padded(rows.positions)[None],
        logits_to_keep=padded(rows.read),
        use_cache=False,
        batch=AttentionBatch(cache, segments, path.kernels),
    )
    logits: torch.Tensor = output.logits[0, : len(rows.read)]
    return logits.float().cpu()
