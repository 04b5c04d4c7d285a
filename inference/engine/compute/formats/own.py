"""Linear layers that keep their weights in the checkpoint's own type: bfloat16, float16 or float32.

The native kernel widens narrow weights in registers, exactly, and computes in float32. So results have the
same bits as with float32 weights of the same checkpoint, and the format has float32's name and tolerances.
Without the kernels, or on a GPU, weights are float32 in memory too.
"""

from dataclasses import replace

from inference.engine.compute.formats.float32 import FLOAT32
from inference.engine.compute.formats.weight_format import LinearLayers
from inference.engine.native.kernels import Kernels


def _layers(kernels: Kernels | None) -> LinearLayers:
    layers = FLOAT32.layers(kernels)
    return replace(layers, takes_narrow=layers.native)


OWN = replace(FLOAT32, layers=_layers)
