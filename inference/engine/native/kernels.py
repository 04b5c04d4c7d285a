"""The bindings of the native kernels, which replace the PyTorch operators that are slow for few rows.

Without the kernels, for example because set-up found no compiler, PyTorch's slower operators do the same.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from inference.engine.config import usable_cpus
from inference.engine.native.abi import (
    ActivationCall,
    AttentionCall,
    BFloat16LinearCall,
    Cache,
    Int4LinearCall,
    Int8LinearCall,
    LinearCall,
    NewRows,
    Shape,
    Strides,
    WeightType,
)
from inference.engine.native.build import built
from inference.engine.native.draw import native_draw
from inference.engine.native.generation import generation
from inference.engine.native.instructions import Instruction, Step
from inference.engine.native.int4_pack import native_int4_pack
from inference.engine.native.layout import difference
from inference.engine.native.masks import native_read_masks

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Listener = Callable[[str, "dict[str, torch.Tensor]", dict[str, float]], None]


class Kernels:
    """The kernels for this CPU. Tensors are dense, float32 and on the CPU unless stated otherwise.

    Every result has the same bits whatever the number of rows, sequences and threads.

    Attributes:
        threads: how many threads compute, including the calling one.
        listener: is called with each operation, its tensors and its numbers, by their names in `abi.h`.
            `run` does not call it.
        draw: draws a token from a row of logits, a NumPy array.
        read_masks: reads the masks of grammars, NumPy arrays.
        int4_pack: quantises weights for `int4_linear`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.threads = usable_cpus()
        self.listener: Listener | None = None
        self._linear = _bound(library.linear, LinearCall)
        self._bfloat16_linear = _bound(getattr(library, "bfloat16_linear", None), BFloat16LinearCall)
        self._int8_linear = _bound(getattr(library, "int8_linear", None), Int8LinearCall)
        self._int4_linear = _bound(getattr(library, "int4_linear", None), Int4LinearCall)
        self._activations = {
            name: _bound(getattr(library, name), ActivationCall) for name in ("gelu_tanh", "silu")
        }
        self._attention = _bound(library.attention, AttentionCall)
        self.draw = native_draw(library)
        self.read_masks = native_read_masks(library)
        self.int4_pack = native_int4_pack(library)
        self._run = library.run_program
        self._run.argtypes = [ctypes.POINTER(Instruction), ctypes.c_int64, ctypes.POINTER(Step)]
        self._run.restype = None

    @property
    def has_bfloat16(self) -> bool:
        """Whether this CPU has `bfloat16_linear`: with AVX512-BF16, or AMX."""
        return self._bfloat16_linear is not None

    @property
    def has_8_bit_products(self) -> bool:
        """Whether this CPU has `int8_linear` and `int4_linear`: with AVX2, or 64-bit ARM."""
        return self._int8_linear is not None

    def attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        pools: tuple[NDArray[Any], NDArray[Any]],
        out: torch.Tensor,
        *,
        tiles: NDArray[np.int64],
        tables: NDArray[np.int64],
        layer: int,
        scale: float,
    ) -> None:
        """Store keys and values in the pools, and fill these rows of `out`.

        Args:
            query: `[1, heads, rows, dim]`, its last dimension dense.
            key, value: `[1, kv_heads, rows, dim]`, their last dimension dense.
            pools: the layer's keys and values, as `KVCache.pools` makes them.
            out: `[rows, heads, value_dim]`.
            tiles: `[tiles, 4]`, each an `abi.Tile` of consecutive rows of a sequence in one block: its first
                row, its rows, how many of the sequence's tokens come before, and where its table begins.
            tables: of each sequence, the numbers of its blocks in the order of its tokens.
        """
        if self.listener:
            tensors = {"query": query, "key": key, "value": value, "out": out}
            self.listener("attention", tensors, {"layer": layer, "scale": scale})
        self._attention(
            AttentionCall(
                rows=NewRows(
                    queries=query.data_ptr(),
                    query=_strides(query),
                    keys=key.data_ptr(),
                    key=_strides(key),
                    values=value.data_ptr(),
                    value=_strides(value),
                ),
                cache=Cache.of(*pools),
                shape=Shape(
                    heads=query.shape[1],
                    kv_heads=key.shape[1],
                    dim=key.shape[3],
                    value_dim=value.shape[3],
                ),
                tiles=tiles.ctypes.data,
                tile_count=len(tiles),
                tables=tables.ctypes.data,
                scale=scale,
                out=out.data_ptr(),
                threads=self.threads,
            )
        )

    def linear(self, weights: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, out: torch.Tensor) -> None:
        """`out = x @ weights^T + bias`, with the same bits whichever type the same weights are kept in.

        Args:
            weights: in panels, `[ceil(width / 16), depth, 16]`; float32, bfloat16 or float16.
            bias: `[panels * 16]`.
            x: `[*, depth]`.
            out: `[*, width]`.
        """
        tensors, kept = {"weights": weights, "bias": bias, "x": x, "out": out}, WeightType.of(weights.dtype)
        self._multiply("linear", self._linear, LinearCall, tensors, {"weight_type": kept})

    def bfloat16_linear(
        self, weights: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, out: torch.Tensor
    ) -> None:
        """`out = x @ weights^T + bias`, with weights and x in bfloat16 and sums in float32.

        Args:
            weights: bfloat16, in panels that hold two inputs of a channel together, `[ceil(width / 16),
                ceil(depth / 32) * 16, 16, 2]`.
            bias: `[panels * 16]`.
            x: `[*, depth]`.
            out: `[*, width]`.
        """
        tensors = {"weights": weights, "bias": bias, "x": x, "out": out}
        self._multiply("bfloat16_linear", self._bfloat16_linear, BFloat16LinearCall, tensors)

    def int8_linear(
        self,
        weights: torch.Tensor,
        scales: torch.Tensor,
        input_scales: torch.Tensor,
        bias: torch.Tensor,
        x: torch.Tensor,
        out: torch.Tensor,
        *,
        group_chunks: int,
    ) -> None:
        """`out = (x * input_scales) @ (weights * scales)^T + bias`, in 8 bits.

        Each group of inputs is quantised by its own largest value.

        Args:
            weights: uint8, 128 more than the weights, in panels that hold four inputs of a channel together,
                `[ceil(width / 16), ceil(depth / 64) * 16, 16, 4]`.
            scales, bias: `[panels * 16]`.
            input_scales: `[depth]`.
            x: `[*, depth]`.
            out: `[*, width]`.
            group_chunks: 1 to 16 times 64 inputs make a group.
        """
        tensors = {"weights": weights, "scales": scales, "input_scales": input_scales}
        tensors |= {"bias": bias, "x": x, "out": out}
        self._multiply(
            "int8_linear", self._int8_linear, Int8LinearCall, tensors, {"group_chunks": group_chunks}
        )

    def int4_linear(
        self,
        weights: torch.Tensor,
        group_scales: torch.Tensor,
        scales: torch.Tensor,
        bias: torch.Tensor,
        x: torch.Tensor,
        out: torch.Tensor,
    ) -> None:
        """A linear layer with weights in 4 bits, each group of 32 inputs quantised by its own largest value.

        Args:
            weights, group_scales, scales: as `int4_pack` fills them.
            bias: `[panels * 16]`.
            x: `[*, depth]`.
            out: `[*, width]`.
        """
        tensors = {"weights": weights, "group_scales": group_scales, "scales": scales}
        tensors |= {"bias": bias, "x": x, "out": out}
        self._multiply("int4_linear", self._int4_linear, Int4LinearCall, tensors)

    def _multiply(
        self,
        operation: str,
        function: Any,
        call: Any,
        tensors: dict[str, torch.Tensor],
        numbers: dict[str, float] | None = None,
    ) -> None:
        assert function is not None  # noqa: S101
        numbers = numbers or {}
        if self.listener:
            self.listener(operation, tensors, numbers)
        depth = tensors["x"].shape[-1]
        function(
            call(
                **{name: tensor.data_ptr() for name, tensor in tensors.items()},
                **numbers,
                rows=tensors["x"].numel() // depth,
                depth=depth,
                width=tensors["out"].shape[-1],
                threads=self.threads,
            )
        )

    def activation(self, name: str, x: torch.Tensor, out: torch.Tensor) -> None:
        """Element by element, x and out `[*, width]`.

        Args:
            name: "gelu_tanh" or "silu".
        """
        if self.listener:
            self.listener(name, {"x": x, "out": out}, {})
        width = x.shape[-1]
        self._activations[name](
            ActivationCall(
                x=x.data_ptr(),
                out=out.data_ptr(),
                rows=x.numel() // width,
                width=width,
                threads=self.threads,
            )
        )

    def run(self, instructions: Any, step: Step) -> None:
        """Run a layer program, an array of `Instruction`, for a step's rows."""
        step.threads = self.threads
        self._run(instructions, len(instructions), step)


def load() -> Kernels | None:
    """The kernels, if they were built from these sources and this machine can run them."""
    library = built(generation())
    return None if library is None else _open(library)


@cache
def _open(path: Path) -> Kernels | None:
    """The kernels of a library; None, with a warning, if it cannot be loaded or has another layout."""
    try:
        library = ctypes.CDLL(str(path))
        differing = difference(library)
    except (OSError, AttributeError) as error:
        reason = f"cannot be loaded ({error}): delete it, then run python -m inference.engine.native"
    else:
        if differing is None:
            return Kernels(library)
        reason = f"{differing}: make both agree, then run python -m inference.engine.native"
    logger.warning("The native kernels are not used, so the engine is slower: %s %s.", path, reason)
    return None


def _bound(function: Any, call: Any) -> Any:
    if function is not None:
        function.argtypes, function.restype = [ctypes.POINTER(call)], None
    return function


def _strides(tensor: torch.Tensor) -> Strides:
    return Strides(row=tensor.stride(2), head=tensor.stride(1))
