"""What the engine knows of a weight format: how weights are stored and multiplied, and how exact that is."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from inference.engine.native.kernels import Kernels


@dataclass(frozen=True, kw_only=True)
class LinearWeights:
    """What a linear layer of a model is made of.

    Attributes:
        weight: `[out, in]`, in float32, or narrow (bfloat16 or float16) if the checkpoint has it so and
            `LinearLayers.takes_narrow`.
        bias: `[out]`, in float32, or None.
        input_squares: the mean square of each input for a few tokens, `[in]`; None if it was not noted.
        hidden_size: the numbers in a hidden state of the model; 0 if its configuration does not say.
        is_head: it is the LM head.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    input_squares: torch.Tensor | None
    hidden_size: int
    is_head: bool


BuildLinear = Callable[[LinearWeights], nn.Module]
"""Builds a linear layer `[*, in] -> [*, out]`."""


@dataclass(frozen=True, kw_only=True)
class LinearLayers:
    """How linear layers are computed here.

    Attributes:
        library: what multiplies, for the log.
        build: builds the layer that replaces one of the model's. None leaves the model's own layers and
            activations as they are.
        native: the layers call the native kernels, so a layer program can contain them.
        uses_input_squares: `build` makes use of `LinearWeights.input_squares`.
        takes_narrow: weights may stay in the checkpoint's bfloat16 or float16 until `build` is called.
        least_rows: the fewest rows of a step for which a row's result does not depend on the others.
    """

    library: str
    build: BuildLinear | None = None
    native: bool = False
    uses_input_squares: bool = False
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
    kv_cache_dtype: np.dtype[Any]
    tolerance: float
    program_tolerance: float
