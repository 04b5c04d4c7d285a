"""What of a device's memory a model takes, and what it leaves."""

import torch
from torch import nn

from inference.engine.compute.formats.weight_format import WeightFormat
from inference.engine.compute.linear_modules import is_linear
from inference.engine.memory import HEADROOM, Budget


def weight_bytes(model: nn.Module, weight_format: WeightFormat) -> int:
    """The memory that the weights of a model take in this format; call it before these are packed.

    A weight that a linear layer shares with the embedding counts twice, because packing copies it.
    """
    return sum(
        int(parameter.numel() * min(parameter.itemsize, weight_format.bytes_per_weight))
        if is_linear(module) and name == "weight"
        else parameter.nbytes
        for module in model.modules()
        for name, parameter in module.named_parameters(recurse=False)
    )


def gpu_budget(device: torch.device, processes: int) -> Budget | None:
    """What each of `processes` processes may use of a GPU, of which other programs may leave less.

    None if the device is no GPU.
    """
    if device.type != "cuda":
        return None
    free, total = torch.cuda.mem_get_info(device)
    limit = total // processes
    headroom = int(limit * HEADROOM)
    own = torch.cuda.memory_allocated(device)
    return Budget(limit=limit, left=min(limit - headroom - own, free - headroom))


def return_freed_gpu_memory() -> None:
    """Return what PyTorch keeps of freed GPU memory."""
    torch.cuda.empty_cache()
