"""A Hugging Face causal language model, hooked for packed steps over a shared KV cache."""

import logging
from typing import Any

import torch
from transformers import PreTrainedModel

from inference.engine.compute import attention
from inference.engine.compute.activation import replace_activations
from inference.engine.compute.formats.float32 import replace_linears
from inference.engine.compute.layer_program.module import replace_layers
from inference.engine.compute.layer_program.recorder import NotRecordable
from inference.engine.compute.path import ComputePath, cpu_path
from inference.engine.errors import ModelUnavailable
from inference.engine.kv_cache import KVCache
from inference.engine.native.kernels import Kernels
from inference.engine.segment import TILE, Segment
from inference.engine.slots import SlotPool, Slots

logger = logging.getLogger(__name__)

_ROPE_BY_LENGTH = frozenset({"longrope", "dynamic"})
"""Rotary embeddings that turn all texts of a step otherwise once one is longer than in training: up to there,
no text depends on another."""

_TOLERANCE = 1e-3
"""How far logits may be from the model's own, relative to the largest of them."""


class LanguageModel:
    """The model's forward pass for many sequences at once.

    Args:
        model: any Hugging Face causal LM, in float32; it is changed in place.
        name: what clients see as the model's name.
        kv_cache_tokens: places of the KV cache.
        kv_cache_dtype: in what it keeps numbers, float32 or float16.
        path: the way to compute it; None takes the CPU's, in float32.

    Raises:
        ModelUnavailable: hooked, this architecture would not compute what its own code does; or the path's
            device has not the memory for it.

    Attributes:
        vocabulary_size: token ids that it can take and give, from 0.
        reproducible: a row's logits are the same bits alone and in any batch.
        path: the way it is computed.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        name: str,
        kv_cache_tokens: int,
        kv_cache_dtype: torch.dtype = torch.float32,
        path: ComputePath | None = None,
    ) -> None:
        self.name = name
        self.context_length = context_length(model.config)
        self.vocabulary_size = vocabulary_size(model)
        self.path = path or cpu_path()
        self.cache = KVCache(tokens=kv_cache_tokens, device=self.path.device)
        self._model = model.eval()
        _move(model, self.path.device)
        self._hook()  # in float32: it is held against what the model's own code computes
        self.cache = KVCache(tokens=kv_cache_tokens, dtype=kv_cache_dtype, device=self.path.device)
        if self.path.linear:
            replace_linears(self._model, self.path.linear)
        if self.path.kernels and self.path.native_layers:
            self._record_layers(self.path.kernels)
        self.reproducible = self._row_invariant()
        if not self.reproducible:
            logger.warning(
                "With this model on this machine a text can differ with the load: its numbers are not the "
                "same bits alone and in a batch."
            )

    @property
    def slots(self) -> SlotPool:
        """The slots of its KV cache."""
        return self.cache.slots

    def use_threads(self, threads: int) -> None:
        """Compute on so many threads, in the calling thread from now on."""
        if self.path.kernels:
            self.path.kernels.threads = threads
        # Beside native layers PyTorch has little to do, and its threads would be in the way of theirs.
        torch.set_num_threads(1 if self.path.native_layers else threads)

    def forward(self, segments: list[Segment]) -> torch.Tensor:
        """Compute the segments in one pass, and keep their keys and values.

        Nothing but the segments' own places of the KV cache changes, so a pass that failed can be done again.

        Returns:
            The logits after the last `segment.logits` tokens of each segment, in order, on the CPU:
            `[sum of segment.logits, vocabulary]`.
        """
        with torch.inference_mode():
            return self._forward(segments)

    def _forward(self, segments: list[Segment]) -> torch.Tensor:
        spans: list[attention.Span] = []
        token_ids: list[int] = []
        positions: list[int] = []
        rows: list[int] = []
        for segment in segments:
            length = len(segment.token_ids)
            spans.append(attention.Span(len(token_ids), length, segment.start, segment.slots))
            token_ids.extend(segment.token_ids)
            positions.extend(range(segment.start, segment.start + length))
            rows.extend(range(len(token_ids) - segment.logits, len(token_ids)))
        output: Any = self._model(
            input_ids=self._padded(token_ids)[None],
            position_ids=self._padded(positions)[None],
            logits_to_keep=self._padded(rows),
            use_cache=False,
            batch=attention.AttentionBatch(self.cache, spans, self.path.kernels),
        )
        logits: torch.Tensor = output.logits[0, : len(rows)]
        return logits.float().cpu()

    @torch.inference_mode()
    def _stock_logits(self, token_ids: list[int]) -> torch.Tensor:
        """The last two tokens' logits by the model's own code, `[2, vocabulary]`."""
        input_ids = torch.tensor([token_ids], device=self.path.device)
        logits: torch.Tensor = self._model(input_ids=input_ids, use_cache=False).logits
        return logits[0, -2:].float().cpu().clone()

    def _hook(self) -> None:
        """Hook attention and activations; logits must then be those of the model's own code."""
        kind = self._model.config.model_type
        token_ids = self._probe_ids()
        slots = self.cache.slots.allocate(len(token_ids))
        if slots is None:
            raise ModelUnavailable(f"LLM_KV_CACHE_TOKENS must be {len(token_ids)} or more for this model.")
        try:
            expected = self._stock_logits(token_ids)
            self._model.set_attn_implementation(attention.NAME)
            if self.path.linear:
                replace_activations(self._model, self.path.kernels)
            prefilled = self.forward([Segment(token_ids[:-1], 0, slots)])
            decoded = self.forward([Segment(token_ids[-1:], len(token_ids) - 1, slots)])
        except Exception as error:
            raise ModelUnavailable(f"Models of the kind {kind} cannot be served: {error!r}") from error
        finally:
            self.cache.slots.release(slots)
        computed = torch.cat([prefilled, decoded])
        scale = expected.abs().max().clamp(min=1.0)
        if not torch.allclose(computed / scale, expected / scale, rtol=0, atol=_TOLERANCE):
            raise ModelUnavailable(
                f"Models of the kind {kind} cannot be served: with this engine's attention they would not "
                "compute what their own code does."
            )

    def _record_layers(self, kernels: Kernels) -> None:
        """Have the layers computed in one native call, where a program can do what they do."""
        probe = self._probe_ids()
        slots = Slots(0, len(probe))

        def compute(rows: int) -> torch.Tensor:
            with torch.no_grad():  # in inference mode, operators would come that are made of others
                return self._forward([Segment(probe[:rows], 0, slots)])

        tolerance = 0.05 if self.path.weights_in_8_bits else 1e-4
        count = self._model.config.get_text_config().num_hidden_layers
        try:
            replace_layers(self._model, count, kernels, compute, tolerance=tolerance)
        except NotRecordable as reason:
            logger.info("The layers of this kind of model are called one by one: %s.", reason)

    def _row_invariant(self) -> bool:
        """Whether texts get the same bits alone as they get side by side, prompts and single tokens."""
        probe = self._probe_ids()
        thirds = [Slots(i * len(probe) // 3, len(probe) // 3) for i in range(3)]
        prompts = [Segment(probe[i : slots.size - 1], 0, slots) for i, slots in enumerate(thirds)]
        nexts = [Segment(probe[-1:], len(prompt.token_ids), prompt.slots) for prompt in prompts]
        return all(
            torch.equal(torch.cat([self.forward([alone]) for alone in step]), self.forward(step))
            for step in (prompts, nexts)
        )

    def _probe_ids(self) -> list[int]:
        """Tokens from all over the vocabulary, enough for several attention blocks."""
        vocabulary = self._model.config.get_text_config().vocab_size
        count = min(4 * TILE + 5, self.context_length)
        return [(7919 * i + 11) % vocabulary for i in range(count)]

    def _padded(self, numbers: list[int]) -> torch.Tensor:
        """As a tensor of one number for each row; what is added stands for rows that nobody reads."""
        missing = self.path.least_rows - len(numbers)
        return torch.tensor(numbers + [0] * missing, device=self.path.device)


def _move(model: PreTrainedModel, device: torch.device) -> None:
    try:
        model.to(device)  # type: ignore[arg-type]
    except torch.OutOfMemoryError as error:
        raise ModelUnavailable(
            f"The memory of {device} does not hold this model: free some, or set LLM_DEVICE=cpu."
        ) from error


def vocabulary_size(model: PreTrainedModel) -> int:
    """How many token ids the model has an embedding and a logit for."""
    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    return min(int(layer.weight.shape[0]) for layer in layers if layer is not None)


def context_length(config: Any) -> int:
    """Tokens that a sequence may have: all that every layer can see, while its length changes no other."""
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None) or 2048
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") in _ROPE_BY_LENGTH:
        length = min(length, rope.get("original_max_position_embeddings") or length)
    window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
    return min(length, window) if window else length
