"""What the engine knows of a weight format: how weights are stored and multiplied, and how exact that is."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from inference.engine.native.kernels import Kernels

BuildLinear = Callable[[torch.Tensor, torch.Tensor | None], nn.Module]
"""Builds a linear layer `[*, in] -> [*, out]` from a weight, `[out, in]`, and a bias, `[out]`, in float32.

The weight is narrow (bfloat16 or float16) if the checkpoint has it so and `LinearLayers.takes_narrow`."""


@dataclass(frozen=True, kw_only=True)
class LinearLayers:
    """How linear layers are computed here.

    Attributes:
        library: what multiplies, for the log.
        build: builds the layer that replaces one of the model's. None leaves the model's own layers and
            activations as they are.
        native: the layers call the native kernels, so a layer program can contain them.
        takes_narrow: weights may stay in the checkpoint's bfloat16 or float16 until `build` is called.
        least_rows: the fewest rows of a step for which a row's result does not depend on the others.
    """

    library: str
    build: BuildLinear | None = None
    native: bool = False
    takes_narrow: bool = False
    least_rows: int = 1


@dataclass(frozen=True, kw_only=True)
class WeightFormat:
    """A format that linear layers can keep their weights in.

    Attributes:
        name: for the log and for messages.
        layers: the fastest way to compute it on this CPU with these kernels, if any; raises
            `ModelUnavailable` if there is none.
        on_gpu: PyTorch's own operators compute it too, on any device.
        bytes_per_weight: memory that a weight takes on average, its share of the scales left out.
        kv_cache_dtype: how keys and values are stored unless the operator chooses.
        tolerance: the greatest difference between logits and those of the model's own code in float32,
            relative to their norm. A model that exceeds it is not served.
        program_tolerance: the same between a layer program and the layers that it replaces.
    """

    name: str
    layers: Callable[[Kernels | None], LinearLayers]
    on_gpu: bool
    bytes_per_weight: float
    kv_cache_dtype: torch.dtype
    tolerance: float
    program_tolerance: float
