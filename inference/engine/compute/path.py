"""Which way the model is computed on this machine: on which device, and by whose code."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from inference.engine.compute.formats.float32 import LEAST_ROWS, NativeLinear, PackedLinear, packing_available
from inference.engine.compute.formats.int8 import Int8Linear, NativeInt8Linear, int8_operators
from inference.engine.compute.weight_memory import WeightMemory
from inference.engine.config import Device, Quantization
from inference.engine.errors import ModelUnavailable
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels

MakeLinear = Callable[[torch.Tensor, torch.Tensor | None], nn.Module]


@dataclass(frozen=True, kw_only=True)
class ComputePath:
    """One way to compute the model.

    Attributes:
        device: where the weights, the KV cache and the tensors of each step are.
        description: the same for the log, as "on the CPU (AVX2): ...".
        kernels: the native ones; None has PyTorch compute the attention.
        linear: makes of its weight, `[out, in]`, and bias what takes a linear layer's place. None leaves the
            model's own layers as they are, the activations too.
        native_layers: these are the native kernels'.
        least_rows: the fewest rows of a step.
        weights_in_8_bits: the linear layers' weights are kept and multiplied in 8 bits.
    """

    device: torch.device
    description: str
    kernels: Kernels | None = None
    linear: MakeLinear | None = None
    native_layers: bool = False
    least_rows: int = 1
    weights_in_8_bits: bool = False


def choose_path(*, device: Device, quantization: Quantization) -> ComputePath:
    """The fastest path that `device` allows here; "auto" takes CUDA for what CUDA computes, float32.

    Raises:
        ModelUnavailable: there is none.
    """
    if device == "cuda" and quantization == "int8":
        raise ModelUnavailable(
            "8-bit weights are computed on CPUs alone: set LLM_DEVICE=cpu, or LLM_QUANTIZATION=none."
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelUnavailable(
            "LLM_DEVICE=cuda, but PyTorch finds no CUDA here: install its CUDA build and the GPU driver, or "
            "set LLM_DEVICE=cpu."
        )
    if device == "cpu" or quantization == "int8" or not torch.cuda.is_available():
        return cpu_path(quantization)
    # TF32 would round what is multiplied to 10 bits; the environment can have switched it on.
    torch.set_float32_matmul_precision("highest")
    return stock_path(torch.device("cuda"), name=f"CUDA ({torch.cuda.get_device_name()})")


def cpu_path(quantization: Quantization = "none") -> ComputePath:
    """The fastest path on this CPU.

    Raises:
        ModelUnavailable: it has none for 8 bits.
    """
    kernels = native.load()
    native_layers = kernels is not None and (quantization == "none" or kernels.has_int8)
    linear: MakeLinear | None
    if kernels and native_layers:
        layer = NativeInt8Linear if quantization == "int8" else NativeLinear
        linear = partial(layer, kernels, WeightMemory())
        by = "the native kernels"
    elif quantization == "int8":
        linear, by = Int8Linear, f"PyTorch's {int8_operators()}"
    elif packing_available():
        linear, by = PackedLinear, "PyTorch's oneDNN"
    else:
        linear, by = None, "PyTorch's operators"
    layers = "8-bit layers" if quantization == "int8" else "float32 layers"
    if native_layers:
        shares = f"{layers} and attention by {by}"
    elif kernels:
        shares = f"{layers} by {by}, attention by the native kernels"
    else:
        shares = f"{layers} by {by}, attention by its operators (the native kernels are not built)"
    return ComputePath(
        device=torch.device("cpu"),
        description=f"on the CPU ({native.cpu_name()}): {shares}",
        kernels=kernels,
        linear=linear,
        native_layers=native_layers,
        least_rows=1 if kernels else LEAST_ROWS,
        weights_in_8_bits=quantization == "int8",
    )


def stock_path(device: torch.device, *, name: str) -> ComputePath:
    """Everything by PyTorch's operators and the model's own layers, as any device has them."""
    return ComputePath(device=device, description=f"on {name}: float32, by PyTorch's operators")
