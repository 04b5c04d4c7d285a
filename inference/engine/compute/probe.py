"""A few tokens that a model is tried with while it is prepared."""

from itertools import pairwise

import torch
from transformers import PreTrainedModel

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.model import forward
from inference.engine.compute.model_limits import context_length
from inference.engine.compute.path import ComputePath
from inference.engine.kv_cache import KVCache
from inference.engine.segment import Segment


class Probe:
    """Token ids from all over the vocabulary, enough for several blocks, with a small KV cache of their own.

    Args:
        dtype: of the KV cache.
    """

    def __init__(
        self, model: PreTrainedModel, path: ComputePath, *, dtype: torch.dtype = torch.float32
    ) -> None:
        vocabulary = model.config.get_text_config().vocab_size
        count = min(4 * BLOCK + 5, context_length(model.config))
        self._ids = [(7919 * i + 11) % vocabulary for i in range(count)]
        self._model = model
        self._path = path
        self._cache = KVCache(blocks=3 * blocks_of(count), dtype=dtype, device=path.device)

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
        """The logits of a prompt of this many tokens, if the context is long enough: `[1, vocabulary]`."""
        ids = self._ids[:rows]
        return self._forward([Segment(ids, 0, self._blocks(0))])

    @torch.inference_mode()
    def rows_are_independent(self) -> bool:
        """Whether texts have the same bits alone and side by side, whole and cut."""
        size = len(self._ids) // 3
        texts = [self._ids[i : i + size] for i in range(3)]
        cuts = [0, size // 2, size - 1, size]

        def part(text: int, first: int, last: int) -> Segment:
            return Segment(texts[text][first:last], first, self._blocks(text), last - first)

        together = self._forward([part(i, 0, size) for i in range(3)])
        *alone, last = ([part(i, first, last) for i in range(3)] for first, last in pairwise(cuts))
        cut = [self._forward([segment]) for step in alone for segment in step]
        ends = self._forward(last)
        parts = [torch.cat([cut[i], cut[i + 3], ends[i : i + 1]]) for i in range(3)]
        return torch.equal(together, torch.cat(parts))

    def _blocks(self, text: int) -> list[int]:
        """The blocks of the cache for one of three texts, not in the order of their numbers."""
        return list(range(text, self._cache.blocks.count, 3))[::-1]

    def _forward(self, segments: list[Segment]) -> torch.Tensor:
        return forward(self._model, segments, cache=self._cache, path=self._path)
