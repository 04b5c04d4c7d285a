"""The KV cache: keys and values of all running sequences. Memory is touched only as slots are filled."""

import torch

from inference.engine.config import EngineConfig
from inference.engine.slots import SlotPool


def kv_cache_dtype(config: EngineConfig) -> torch.dtype:
    """In what `config` has keys and values kept."""
    if config.kv_cache_dtype == "auto":
        return torch.float16 if config.quantization == "int8" else torch.float32
    return torch.float16 if config.kv_cache_dtype == "float16" else torch.float32


class KVCache:
    """Keys and values of every layer, for `tokens` slots, in float32 or float16.

    Each layer's tensors are `[kv_heads, tokens, head_dim]`: one head's keys lie side by side, as attention
    reads them. A layer's shapes are told when it is first used, so any model's layers fit.
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
        """The layer's slots for keys and values, `[heads, tokens, dim]` each."""
        if layer not in self._layers:
            keys, values = (
                torch.empty((heads, self.tokens, dim), dtype=self.dtype, device=self._device)
                for dim in (key_dim, value_dim)
            )
            self._layers[layer] = (keys, values)
        return self._layers[layer]
