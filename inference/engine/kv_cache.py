"""The KV cache: keys and values of all running sequences. Memory is used only as slots are filled."""

import torch

from inference.engine.compute.formats.weight_format import WeightFormat
from inference.engine.config import KVCacheDtype
from inference.engine.slots import SlotPool


def kv_cache_dtype(chosen: KVCacheDtype, weight_format: WeightFormat) -> torch.dtype:
    """The dtype that the operator chose, or the weight format's own for "auto"."""
    if chosen == "auto":
        return weight_format.kv_cache_dtype
    return torch.float16 if chosen == "float16" else torch.float32


class KVCache:
    """Keys and values of every layer for `tokens` slots, in float32 or float16.

    Each layer's tensors are `[kv_heads, tokens, head_dim]`, so one head's keys are contiguous, as attention
    reads them. They are allocated when the layer is first used, so layers may have different shapes.
    """

    def __init__(
        self, *, tokens: int, dtype: torch.dtype = torch.float32, device: torch.device | None = None
    ) -> None:
        self.tokens = tokens
        self.slots = SlotPool(tokens)
        self.dtype = dtype
        self._device = device
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def pools(
        self, layer: int, heads: int, key_dim: int, value_dim: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The layer's keys and values, `[heads, tokens, dim]` each."""
        if layer not in self._layers:
            keys, values = (
                torch.empty((heads, self.tokens, dim), dtype=self.dtype, device=self._device)
                for dim in (key_dim, value_dim)
            )
            self._layers[layer] = (keys, values)
        return self._layers[layer]
