"""The binding of the kernel that quantises weights to 4 bits."""

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from inference.engine.native.abi import Int4PackCall

if TYPE_CHECKING:
    import torch

Int4Pack = Callable[
    ["torch.Tensor", "torch.Tensor", "torch.Tensor", "torch.Tensor", "torch.Tensor", int], None
]
"""Quantises a weight, `[channels, depth]`, with the importance of its inputs, `[depth]`, each greater than 0,
into the three further tensors, on this many threads:

- the levels, two a byte: uint8 `[ceil(channels / 16), ceil(depth / 32), 4, 64]`;
- the scales of groups, relative to the channel's: int8 `[ceil(channels / 16), ceil(depth / 32), 16]`;
- the scales of channels: float32 `[ceil(channels / 16) * 16]`."""


def native_int4_pack(library: ctypes.CDLL) -> Int4Pack:
    """The quantisation of a library of kernels."""
    function: Any = library.int4_pack
    function.argtypes, function.restype = [ctypes.POINTER(Int4PackCall)], None

    def pack(
        weight: "torch.Tensor",
        importance: "torch.Tensor",
        levels: "torch.Tensor",
        group_scales: "torch.Tensor",
        scales: "torch.Tensor",
        threads: int,
    ) -> None:
        addresses = {
            "from": weight,
            "importance": importance,
            "weights": levels,
            "group_scales": group_scales,
            "scales": scales,
        }
        channels, depth = weight.shape
        function(
            Int4PackCall(
                **{name: tensor.data_ptr() for name, tensor in addresses.items()},
                channels=channels,
                depth=depth,
                threads=threads,
            )
        )

    return pack
