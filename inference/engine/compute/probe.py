"""A few tokens that a model is tried with while it is prepared."""

import torch
from transformers import PreTrainedModel

from inference.engine.compute.model import forward
from inference.engine.compute.model_limits import context_length
from inference.engine.compute.path import ComputePath
from inference.engine.kv_cache import KVCache
from inference.engine.segment import TILE, Segment
from inference.engine.slots import Slots


class Probe:
    """Token ids from all over the vocabulary, enough for several tiles, with a small KV cache of their own.

    Args:
        dtype: of the KV cache.
    """

    def __init__(
        self, model: PreTrainedModel, path: ComputePath, *, dtype: torch.dtype = torch.float32
    ) -> None:
        vocabulary = model.config.get_text_config().vocab_size
        count = min(4 * TILE + 5, context_length(model.config))
        self._ids = [(7919 * i + 11) % vocabulary for i in range(count)]
        self._model = model
        self._path = path
        self._cache = KVCache(tokens=count, dtype=dtype, device=path.device)

    @torch.inference_mode()
    def own_logits(self) -> torch.Tensor:
        """The logits of the last two tokens by the model's own code, `[2, vocabulary]`."""
        input_ids = torch.tensor([self._ids], device=self._path.device)
        logits: torch.Tensor = self._model(input_ids=input_ids, use_cache=False).logits
        return logits[0, -2:].float().cpu().clone()

    @torch.inference_mode()
    def logits(self) -> torch.Tensor:
        """The same with the engine's hooks: the last token is decoded, and those before it are its prompt."""
        slots = Slots(0, len(self._ids))
        prefilled = self._forward([Segment(self._ids[:-1], 0, slots)])
        decoded = self._forward([Segment(self._ids[-1:], len(self._ids) - 1, slots)])
        return torch.cat([prefilled, decoded])

    @torch.no_grad()  # inference mode would turn some operators into others while layers are recorded
    def pass_of(self, rows: int) -> torch.Tensor:
        """The logits of a prompt of so many tokens, if the context is long enough: `[1, vocabulary]`."""
        ids = self._ids[:rows]
        return self._forward([Segment(ids, 0, Slots(0, len(ids)))])

    @torch.inference_mode()
    def rows_are_independent(self) -> bool:
        """Whether sequences have the same bits alone and side by side, in prefill and in decode."""
        size = len(self._ids) // 3
        thirds = [Slots(i * len(self._ids) // 3, size) for i in range(3)]
        prompts = [Segment(self._ids[i : size - 1], 0, slots) for i, slots in enumerate(thirds)]
        nexts = [Segment(self._ids[-1:], len(prompt.token_ids), prompt.slots) for prompt in prompts]
        return all(
            torch.equal(torch.cat([self._forward([alone]) for alone in step]), self._forward(step))
            for step in (prompts, nexts)
        )

    def _forward(self, segments: list[Segment]) -> torch.Tensor:
        return forward(self._model, segments, cache=self._cache, path=self._path)
