"""The bindings of the native kernels: what PyTorch's operators are slow at for few rows.

Without the kernels, where no C++ compiler was found at set-up, the engine runs on PyTorch's own operators:
slower, and as exact.
"""

import ctypes
import platform
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch

from inference.engine.compute.layer_program.abi import Step
from inference.engine.config import usable_cpus
from inference.engine.native.build import GENERATIONS, built


class _Strides(ctypes.Structure):
    _fields_ = [("row", ctypes.c_int64), ("head", ctypes.c_int64)]

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Self:
        return cls(tensor.stride(2), tensor.stride(1))


class _NewRows(ctypes.Structure):
    _fields_ = [
        *(("queries", ctypes.c_void_p), ("query", _Strides)),
        *(("keys", ctypes.c_void_p), ("key", _Strides)),
        *(("values", ctypes.c_void_p), ("value", _Strides)),
    ]


class _Shape(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("heads", "kv_heads", "dim", "value_dim")]


class _Cache(ctypes.Structure):
    _fields_ = [
        *(("keys", ctypes.c_void_p), ("values", ctypes.c_void_p)),
        *(("places", ctypes.c_int64), ("halves", ctypes.c_int64)),
    ]


Listener = Callable[[str, tuple[torch.Tensor, ...], tuple[float, ...]], None]


class Kernels:
    """The kernels for this CPU. Tensors are dense float32 on the CPU where nothing else is said.

    Every result is the same bits whatever the number of rows, of sequences and of threads.

    Attributes:
        threads: how many compute, the calling one among them.
        listener: told the name, the tensors (the result last) and the numbers of each call, but for `run`.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self.threads = usable_cpus()
        self.listener: Listener | None = None
        pointer, size, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
        self._attention = library.attention
        self._attention.argtypes = [
            *(ctypes.POINTER(_NewRows), ctypes.POINTER(_Cache), pointer, size, pointer, size),
            *(ctypes.POINTER(_Shape), ctypes.c_float, number, pointer),
        ]
        self._linear = library.linear
        self._linear.argtypes = [pointer, pointer, size, size, pointer, size, number, pointer]
        self._activations = {name: getattr(library, name) for name in ("gelu_tanh", "silu")}
        for activation in self._activations.values():
            activation.argtypes = [pointer, size, size, number, pointer]
            activation.restype = None
        self._int8_linear = getattr(library, "int8_linear", None)
        if self._int8_linear is not None:
            self._int8_linear.argtypes = [*[pointer] * 3, *[size] * 3, pointer, size, number, pointer]
        self._run = library.run_program
        self._run.argtypes = [pointer, size, ctypes.POINTER(Step)]
        self._run.restype = None
        for kernel in (self._attention, self._linear, self._int8_linear):
            if kernel is not None:
                kernel.restype = None

    @property
    def has_int8(self) -> bool:
        """There is `int8_linear` for this CPU: one with AVX-512 VNNI, or 64-bit ARM."""
        return self._int8_linear is not None

    def attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        pools: tuple[torch.Tensor, torch.Tensor],
        output: torch.Tensor,
        *,
        blocks: torch.Tensor,
        rows: torch.Tensor,
        layer: int,
        scale: float,
    ) -> None:
        """Store keys and values in the pools, and fill these rows of `output`.

        Args:
            query: `[1, heads, rows, dim]`, its last dimension dense; as are key and value,
                `[1, kv_heads, rows, dim]`.
            pools: the layer's keys and values, `[kv_heads, places, dim]`, in float32 or float16.
            output: `[rows, heads, value_dim]`.
            blocks: int64 `[blocks, 4]`, of consecutive rows of a sequence: first row, rows (up to 16), the
                sequence's first place, and how many of its tokens come before the block.
            rows: int64 `[sequences, 3]`, of single ones: row, the sequence's first place, its tokens with it.
        """
        if self.listener:
            self.listener("attention", (query, key, value, output), (layer, scale))
        keys, values = pools
        self._attention(
            _NewRows(
                *(query.data_ptr(), _Strides.of(query)),
                *(key.data_ptr(), _Strides.of(key)),
                *(value.data_ptr(), _Strides.of(value)),
            ),
            _Cache(keys.data_ptr(), values.data_ptr(), keys.shape[1], keys.dtype is torch.float16),
            *(blocks.data_ptr(), len(blocks), rows.data_ptr(), len(rows)),
            _Shape(query.shape[1], keys.shape[0], keys.shape[2], values.shape[2]),
            scale,
            self.threads,
            output.data_ptr(),
        )

    def linear(self, weight: torch.Tensor, bias: torch.Tensor, x: torch.Tensor, out: torch.Tensor) -> None:
        """`out = x @ weights^T + bias`.

        Args:
            weight: in panels, `[ceil(width / 16), depth, 16]`.
            bias: `[panels * 16]`.
            x: `[*, depth]`.
            out: `[*, width]`.
        """
        if self.listener:
            self.listener("linear", (weight, bias, x, out), ())
        depth, width = x.shape[-1], out.shape[-1]
        rows = x.numel() // depth
        self._linear(
            weight.data_ptr(),
            bias.data_ptr(),
            depth,
            width,
            x.data_ptr(),
            rows,
            self.threads,
            out.data_ptr(),
        )

    def int8_linear(
        self,
        weight: torch.Tensor,
        scales: torch.Tensor,
        bias: torch.Tensor,
        x: torch.Tensor,
        out: torch.Tensor,
        *,
        run: int,
    ) -> None:
        """`out = x @ (weights * scales)^T + bias`, each `run` inputs rounded to 8 bits of their largest one.

        Args:
            weight: uint8, 128 more than the weights, in panels of groups of four inputs,
                `[ceil(width / 16), ceil(depth / 4), 16, 4]`.
            scales, bias: `[panels * 16]`.
            x: `[*, depth]`.
            out: `[*, width]`.
            run: 16, 32, 48 or 64.
        """
        assert self._int8_linear is not None  # noqa: S101
        if self.listener:
            self.listener("int8_linear", (weight, scales, bias, x, out), (run,))
        depth, width = x.shape[-1], out.shape[-1]
        self._int8_linear(
            weight.data_ptr(),
            scales.data_ptr(),
            bias.data_ptr(),
            depth,
            width,
            run,
            x.data_ptr(),
            x.numel() // depth,
            self.threads,
            out.data_ptr(),
        )

    def activation(self, name: str, x: torch.Tensor, out: torch.Tensor) -> None:
        """Element by element, x and out `[*, width]`.

        Args:
            name: "gelu_tanh" or "silu".
        """
        if self.listener:
            self.listener(name, (x, out), ())
        width = x.shape[-1]
        rows = x.numel() // width
        self._activations[name](x.data_ptr(), rows, width, self.threads, out.data_ptr())

    def run(self, instructions: Any, step: Step) -> None:
        """Run a program, an array of `program.Instruction`, for a step's rows."""
        step.threads = self.threads
        self._run(instructions, len(instructions), step)


_ARM_DOT_PRODUCTS = 1 << 20
"""Linux's HWCAP_ASIMDDP."""

_GENERATIONS = {
    "arm_dotprod": "64-bit ARM with dot products",
    "avx512_vnni": "AVX-512 with VNNI",
    "avx512": "AVX-512",
    "avx2": "AVX2",
}


def cpu_name() -> str:
    """What kind of CPU this is, as far as it matters here."""
    return _GENERATIONS.get(_generation(), platform.machine())


def load() -> Kernels | None:
    """The kernels, if they were built for these sources and this machine can run them."""
    library = built(_generation())
    return None if library is None else _open(library)


@cache
def _open(library: Path) -> Kernels | None:
    try:
        return Kernels(ctypes.CDLL(str(library)))
    except (OSError, AttributeError):
        return None


def _generation() -> str:
    """The generation of CPUs that this one belongs to, as `build.GENERATIONS` names it."""
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX512" and torch.cpu._is_vnni_supported():
        return "avx512_vnni"
    if "arm_dotprod" in GENERATIONS and _hardware() & _ARM_DOT_PRODUCTS:
        return "arm_dotprod"
    return {"AVX512": "avx512", "AVX2": "avx2"}.get(capability, "any")


def _hardware() -> int:
    """What the CPU can do, as Linux tells every program (AT_HWCAP); nothing where it does not."""
    tell = getattr(ctypes.CDLL(None), "getauxval", None)
    if tell is None:
        return 0
    tell.argtypes, tell.restype = [ctypes.c_ulong], ctypes.c_ulong
    return int(tell(16))
