"""The KV cache: one pool of token places for all running sequences.

A request's need is known when it is admitted (prompt + max_new_tokens), so each sequence gets one contiguous
range of places and never has to grow, wait or be put out. Memory is touched only as places are filled.
"""

from bisect import insort
from dataclasses import dataclass

import torch

from inference.engine.config import EngineConfig


def kv_cache_dtype(config: EngineConfig) -> torch.dtype:
    """In what `config` has keys and values kept."""
    if config.kv_cache_dtype == "auto":
        return torch.float16 if config.quantization == "int8" else torch.float32
    return torch.float16 if config.kv_cache_dtype == "float16" else torch.float32


@dataclass(frozen=True, order=True)
class Slots:
    """A sequence's range of places in the pool: `[start, start + size)`, in tokens."""

    start: int
    size: int


class KVCache:
    """Keys and values of every layer, for `tokens` places, in float32 or float16.

    Each layer's tensors are `[kv_heads, tokens, head_dim]`: one head's keys lie side by side, as attention
    reads them. A layer's shapes are told when it is first used, so any model's layers fit.
    """

    def __init__(
        self, *, tokens: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> None:
        self.tokens = tokens
        self.dtype = dtype
        self._device = device
        self._free: list[Slots] = [Slots(0, tokens)]
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @property
    def free_tokens(self) -> int:
        return sum(gap.size for gap in self._free)

    def allocate(self, size: int) -> Slots | None:
        """A range of `size` places, from the smallest gap that holds it; None where no gap does."""
        fitting = [gap for gap in self._free if gap.size >= size]
        if not fitting:
            return None
        gap = min(fitting, key=lambda gap: gap.size)
        self._free.remove(gap)
        if gap.size > size:
            insort(self._free, Slots(gap.start + size, gap.size - size))
        return Slots(gap.start, size)

    def release(self, slots: Slots) -> None:
        """Give a range back; it joins the gaps beside it."""
        insort(self._free, slots)
        merged: list[Slots] = []
        for gap in self._free:
            if merged and merged[-1].start + merged[-1].size == gap.start:
                merged[-1] = Slots(merged[-1].start, merged[-1].size + gap.size)
            else:
                merged.append(gap)
        self._free = merged

    def pools(
        self, layer: int, heads: int, key_dim: int, value_dim: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's places for keys and values, `[heads, tokens, dim]` each."""
        if layer not in self._layers:
            keys, values = (
                torch.empty((heads, self.tokens, dim), dtype=self.dtype, device=self._device)
                for dim in (key_dim, value_dim)
            )
            self._layers[layer] = (keys, values)
        return self._layers[layer]
