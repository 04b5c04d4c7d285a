"""The native kernel: decode attention for all sequences in one call, if a C++ compiler was found at set-up.

`python -m inference.engine.native` builds it. Without it the engine runs on PyTorch's own operators: slower,
and as exact.
"""

import ctypes
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

_FOLDER = Path(__file__).parent
_SOURCE = _FOLDER / "attention.cpp"
_LIBRARY = _FOLDER / "attention.so"
_COMPILE = ["-c", "-O3", "-ffast-math", "-fopenmp", "-fPIC", "-std=c++17"]
# Not with -ffast-math here: it would link in code that has the whole process treat tiny numbers as zero.
_LINK = ["-shared", "-fopenmp"]


def build() -> Path | None:
    """Compile the kernel if it is missing or older than its source; None where no compiler can.

    The library carries code for several generations of CPUs and takes the best at run time, so an image built
    on one machine runs on another.
    """
    if _LIBRARY.exists() and _LIBRARY.stat().st_mtime >= _SOURCE.stat().st_mtime:
        return _LIBRARY
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory(dir=_FOLDER) as work:
        compiled, linked = Path(work) / "attention.o", Path(work) / "attention.so"
        for command in (
            [*_COMPILE, "-o", str(compiled), str(_SOURCE)],
            [*_LINK, "-o", str(linked), str(compiled)],
        ):
            done = subprocess.run([compiler, *command], capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                print(f"The compiler refused {_SOURCE.name}: {done.stderr.strip()}", file=sys.stderr)
                return None
        linked.replace(_LIBRARY)
    return _LIBRARY


class _Strides(ctypes.Structure):
    _fields_ = [("row", ctypes.c_int64), ("head", ctypes.c_int64)]


class DecodeAttention:
    """Attention of one new token of each sequence over its past, as `attention.py` describes it."""

    def __init__(self, library: ctypes.CDLL) -> None:
        size, pointer = ctypes.c_int64, ctypes.c_void_p
        self._kernel = library.decode_attention
        self._kernel.restype = None
        self._kernel.argtypes = [
            *(pointer, _Strides, pointer, _Strides, pointer, _Strides),
            *(pointer, pointer, size, pointer, size),
            *(size, size, size, size, ctypes.c_float, ctypes.c_int, pointer),
        ]

    def __call__(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        pools: tuple[torch.Tensor, torch.Tensor],
        spans: torch.Tensor,
        scaling: float,
        output: torch.Tensor,
    ) -> None:
        """Store the spans' keys and values in the pools, and fill the spans' rows of `output`.

        Args:
            query: `[1, heads, rows, dim]`, float32, its last dimension dense; as are key and value,
                `[1, kv_heads, rows, dim]`.
            pools: the layer's keys and values, `[kv_heads, places, dim]`, dense.
            spans: int64 `[sequences, 3]`: row, first place, tokens with the new one.
            output: `[rows, heads, value_dim]`, dense.
        """
        keys, values = pools
        self._kernel(
            query.data_ptr(),
            _Strides(query.stride(2), query.stride(1)),
            key.data_ptr(),
            _Strides(key.stride(2), key.stride(1)),
            value.data_ptr(),
            _Strides(value.stride(2), value.stride(1)),
            keys.data_ptr(),
            values.data_ptr(),
            keys.shape[1],
            spans.data_ptr(),
            spans.shape[0],
            query.shape[1],
            keys.shape[0],
            keys.shape[2],
            values.shape[2],
            scaling,
            torch.get_num_threads(),
            output.data_ptr(),
        )


def load() -> DecodeAttention | None:
    """The kernel, if it was built for this source and this machine can run it."""
    if not _LIBRARY.exists() or _LIBRARY.stat().st_mtime < _SOURCE.stat().st_mtime:
        return None
    try:
        return DecodeAttention(ctypes.CDLL(str(_LIBRARY)))
    except (OSError, AttributeError):
        return None
