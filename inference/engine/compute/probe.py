"""A few tokens that a model is tried with while it is prepared."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.model import forward
from inference.engine.compute.model_limits import context_length
from inference.engine.compute.path import ComputePath
from inference.engine.compute.tensor_cache import TensorCache
from inference.engine.compute.tried_tokens import tried_tokens
from inference.engine.kv_cache import KVCache
from inference.engine.segment import Segment

_FLOAT32 = np.dtype(np.float32)
_TEXTS = 3
_ALL_ROWS = range(1, 17)
"""The numbers of rows of the steps that compute few requests, with drafts or without."""
_SOME_ROWS = (1, 2, 4, 5, 8, 16)
"""The native kernels add in the same order for any number, which their tests check: a start need not."""


Compute = Callable[[list[Segment], KVCache], NDArray[np.float32]]


class Probe:
    """Token ids from all over the vocabulary, enough for several blocks, with a small KV cache of their own.

    Args:
        dtype: of the KV cache.
        compute: computes segments, instead of the hooked model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        path: ComputePath,
        *,
        dtype: np.dtype[Any] = _FLOAT32,
        compute: Compute | None = None,
    ) -> None:
        vocabulary = model.config.get_text_config().vocab_size
        count = min(4 * BLOCK + 5, context_length(model.config))
        self._ids = tried_tokens(count, vocabulary_size=vocabulary)
        self._model = model
        self._path = path
        self._compute = compute
        self._cache = TensorCache(KVCache(blocks=_TEXTS * blocks_of(count), dtype=dtype), path.device)

    @torch.inference_mode()
    def own_logits(self) -> torch.Tensor:
        """The logits of the last two tokens by the model's own code, `[2, vocabulary]`."""
        input_ids = torch.tensor([self._ids], device=self._path.device)
        logits: torch.Tensor = self._model(input_ids=input_ids, use_cache=False).logits
        return logits[0, -2:].float().cpu().clone()

    @torch.inference_mode()
    def logits(self) -> torch.Tensor:
        """The same with the engine's hooks: the last token is decoded, and those before it are its prompt."""
        blocks = self._blocks(0)
        prefilled = self._forward([Segment(self._ids[:-1], 0, blocks)])
        decoded = self._forward([Segment(self._ids[-1:], len(self._ids) - 1, blocks)])
        return torch.cat([prefilled, decoded])

    @torch.no_grad()  # inference mode would turn some operators into others while layers are recorded
    def pass_of(self, rows: int) -> torch.Tensor:
        """The logits of a prompt of this many tokens, if the context is long enough: `[rows, vocabulary]`."""
        ids = self._ids[:rows]
        return self._forward([Segment(ids, 0, self._blocks(0), len(ids))])

    @torch.inference_mode()
    def rows_are_independent(self) -> bool:
        """Whether texts have the same bits side by side and whole, and cut into steps of few rows.

        A library may compute any number of rows in a way of its own, above all a single one.
        """
        size = len(self._ids) // _TEXTS
        texts = [self._ids[i : i + size] for i in range(_TEXTS)]

        def step(ends: list[int], shares: list[int]) -> torch.Tensor:
            """The logits of the last `shares[i]` of the first `ends[i]` tokens of each text."""
            parts = [(i, end - share, end) for i, (end, share) in enumerate(zip(ends, shares, strict=True))]
            return self._forward(
                [
                    Segment(texts[i][start:end], start, self._blocks(i), end - start)
                    for i, start, end in parts
                    if start < end
                ]
            )

        whole = step([size] * _TEXTS, [size] * _TEXTS).split(size)
        ends = [0] * _TEXTS
        for rows in _SOME_ROWS if self._path.layers.native else _ALL_ROWS:
            if rows > size * _TEXTS:
                break
            if rows > size * _TEXTS - sum(ends):
                ends = [0] * _TEXTS
            shares = [0] * _TEXTS
            for _ in range(rows):
                shortest = ends.index(min(ends))
                shares[shortest] += 1
                ends[shortest] += 1
            expected = [text[end - share : end] for text, end, share in zip(whole, ends, shares, strict=True)]
            if not torch.equal(step(ends, shares), torch.cat(expected)):
                return False
        return True

    def _blocks(self, text: int) -> list[int]:
        """The blocks of the cache for one of the texts, not in the order of their numbers."""
        return list(range(text, self._cache.host.blocks.count, _TEXTS))[::-1]

    def _forward(self, segments: list[Segment]) -> torch.Tensor:
        if self._compute is not None:
            return torch.tensor(self._compute(segments, self._cache.host))
        return forward(self._model, segments, cache=self._cache, path=self._path)
