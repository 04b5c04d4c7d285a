"""The compute path: the device, the weight format and the libraries that the forward pass uses."""

from dataclasses import dataclass

import torch

from inference.engine.compute.formats import FORMATS
from inference.engine.compute.formats.weight_format import LinearLayers, WeightFormat
from inference.engine.config import Device, WeightDtype
from inference.engine.errors import ModelUnavailable
from inference.engine.native import kernels as native
from inference.engine.native.generation import cpu_name
from inference.engine.native.kernels import Kernels


@dataclass(frozen=True, kw_only=True)
class ComputePath:
    """One way to compute the model.

    Attributes:
        device: holds the weights, the KV cache and the tensors of each step.
        weight_format: how linear layers keep their weights.
        layers: how they are computed here.
        kernels: the native kernels, which compute attention; None leaves it to PyTorch.
        description: the same for the log, as in "on the CPU (AVX2): ...".
    """

    device: torch.device
    weight_format: WeightFormat
    layers: LinearLayers
    kernels: Kernels | None = None
    description: str


def choose_path(*, device: Device, dtype: WeightDtype) -> ComputePath:
    """The fastest path that `device` allows here. "auto" takes CUDA if it is there and computes the format.

    Raises:
        ModelUnavailable: no path fits; the message says what to set.
    """
    on_gpu = FORMATS[dtype].on_gpu
    if device == "cuda" and not on_gpu:
        raise ModelUnavailable(
            f"Only CPUs compute {FORMATS[dtype].name} weights: set LLM_DEVICE=cpu, or LLM_DTYPE=float32."
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable(
            "LLM_DEVICE is cuda, but PyTorch finds no CUDA here: install PyTorch's CUDA build and the GPU "
            "driver, or set LLM_DEVICE=cpu."
        )
    if device == "cpu" or not on_gpu or not torch.cuda.is_available():
        return cpu_path(dtype)
    # TF32 would round factors to 10 bits, and the environment can switch it on.
    torch.set_float32_matmul_precision("highest")
    name = f"CUDA ({torch.cuda.get_device_name()})"
    return stock_path(torch.device("cuda"), name=name, dtype=dtype)


def cpu_path(dtype: WeightDtype = "auto") -> ComputePath:
    """The fastest path on this CPU.

    Raises:
        ModelUnavailable: this CPU cannot compute the format.
    """
    kernels = native.load()
    weight_format = FORMATS[dtype]
    layers = weight_format.layers(kernels)
    computed = f"{weight_format.name} layers by {layers.library}"
    if layers.native:
        computed = f"{weight_format.name} layers and attention by {layers.library}"
    else:
        computed += ", attention by PyTorch's operators (the native kernels are not built)"
    return ComputePath(
        device=torch.device("cpu"),
        weight_format=weight_format,
        layers=layers,
        kernels=kernels,
        description=f"on the CPU ({cpu_name()}): {computed}",
    )


def stock_path(device: torch.device, *, name: str, dtype: WeightDtype = "auto") -> ComputePath:
    """The model's own layers and PyTorch's operators, which run on any device; `name` is for the log."""
    weight_format = FORMATS[dtype]
    return ComputePath(
        device=device,
        weight_format=weight_format,
        layers=LinearLayers(library="PyTorch's operators"),
        description=f"on {name}: {weight_format.name}, by PyTorch's operators",
    )
