"""The KV cache for PyTorch's operators: as tensors, on the device that computes."""

import torch

from inference.engine.kv_cache import CachedLayer, KVCache


class TensorCache:
    """Keys and values as tensors: on a CPU views of the host's memory, elsewhere memory of the device.

    Args:
        host: has the layout; where the device is no CPU, its memory is never allocated.
    """

    def __init__(self, host: KVCache, device: torch.device) -> None:
        self.host = host
        self._device = device
        self._tensors: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def tensors(self, layer: CachedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and the values of a layer."""
        known = self._tensors.get(layer.number)
        if known is None:
            known = self._tensors[layer.number] = self._allocate(layer)
        return known

    def _allocate(self, layer: CachedLayer) -> tuple[torch.Tensor, torch.Tensor]:
        if self._device.type == "cpu":
            ((keys, values),) = self.host.pools([layer])
            return torch.from_numpy(keys), torch.from_numpy(values)
        dtype: torch.dtype = getattr(torch, self.host.dtype.name)
        count = self.host.blocks.count
        of_keys, of_values = (
            torch.empty((count, *shape), dtype=dtype, device=self._device)
            for shape in self.host.shapes(layer)
        )
        return of_keys, of_values
