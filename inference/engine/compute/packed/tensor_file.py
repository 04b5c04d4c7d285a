"""A file of tensors and a description of them. A damaged or truncated file is noticed when it is read.

The tensors come first, each at a multiple of 64 bytes, then the description as JSON, then a footer of fixed
size. So a writer needs to keep none of them, and the beginning of the file is its image in memory.
"""

import ctypes
import hashlib
import json
import math
import mmap
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

_MAGIC = b"llmsPW01"
_FOOTER = struct.Struct("<8sQQ32s")
"""The magic number, the sizes of the tensors and of the description, and the digest of the description."""
_ALIGNMENT = 64
_CHECKED = 1 << 20
"""Bytes that have a checksum together."""
_READ = 32 * _CHECKED

Reference = dict[str, Any]
"""Where a tensor is in a file: its offset in bytes, its shape, and PyTorch's name of its type."""


class Damaged(Exception):
    """A file is not whole, or not what was written."""


class NotKeepable(Exception):
    """A model has something that a file cannot hold; the message says what."""


class TensorWriter:
    """Writes tensors one after the other; equal views of the same memory are written once.

    Raises:
        OSError: by every method, if the file cannot be written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._known: dict[tuple[Any, ...], Reference] = {}
        self._kept: list[object] = []

    def add(self, tensor: "torch.Tensor | NDArray[Any]", *, shared: bool = False) -> Reference:
        """Write a tensor.

        Args:
            tensor: of PyTorch, on the CPU, or of NumPy.
            shared: it may be added again, and lives until the last tensor has been added.
        """
        key = _view(tensor)
        if shared and key in self._known:
            return self._known[key]
        dense = _dense(tensor)
        padding = -self._size % _ALIGNMENT
        self._file.write(bytes(padding))
        reference = {
            "offset": self._size + padding,
            "shape": list(dense.shape),
            "dtype": str(dense.dtype).removeprefix("torch."),
        }
        self._file.write(_bytes(dense))
        self._size += padding + dense.nbytes
        if shared:
            self._known[key] = reference
            self._kept.append(tensor)
        return reference

    def finish(self, description: dict[str, Any]) -> None:
        """Write the description, which JSON can hold, and the checksums of all tensors."""
        padding = -self._size % _ALIGNMENT
        self._file.write(bytes(padding))
        self._size += padding
        self._file.flush()
        sums = []
        if self._size:
            mapped = mmap.mmap(self._file.fileno(), self._size, access=mmap.ACCESS_READ)
            sums = _checksums(np.frombuffer(mapped, dtype=np.uint8))
        text = json.dumps({"checksums": sums, "description": description}).encode()
        self._file.write(text)
        self._file.write(_FOOTER.pack(_MAGIC, self._size, len(text), hashlib.sha256(text).digest()))
        self._file.flush()


class TensorFile:
    """A file that `TensorWriter` has finished.

    Attributes:
        size: bytes of its tensors.
        description: as it was given to `TensorWriter.finish`.

    Raises:
        Damaged: it is not whole.
        OSError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with path.open("rb") as file:
            whole = os.fstat(file.fileno()).st_size
            if whole < _FOOTER.size:
                raise Damaged("it is truncated")
            file.seek(whole - _FOOTER.size)
            magic, self.size, length, digest = _FOOTER.unpack(file.read(_FOOTER.size))
            if magic != _MAGIC or self.size + length + _FOOTER.size != whole:
                raise Damaged("it is truncated, or no file of packed weights")
            file.seek(self.size)
            text = file.read(length)
        if hashlib.sha256(text).digest() != digest:
            raise Damaged("its description has changed")
        content = json.loads(text)
        self.description: dict[str, Any] = content["description"]
        self._checksums: list[int] = content["checksums"]

    def read_into(self, memory: NDArray[np.uint8]) -> None:
        """Read all tensors into the first `size` bytes of `memory`, and check them.

        Raises:
            Damaged: they are not what was written.
            OSError: they cannot be read.
        """
        buffer: Any = memory
        view = memoryview(buffer)
        with self._path.open("rb", buffering=0) as file, ThreadPoolExecutor(max_workers=2) as threads:

            def read(begin: int) -> list[int]:
                first, last = begin, min(begin + _READ, self.size)
                while first < last:
                    count = os.preadv(file.fileno(), [view[first:last]], first)
                    if count == 0:
                        raise Damaged("it is truncated")
                    first += count
                return _checksums(memory[begin:last])

            sums = list(chain.from_iterable(threads.map(read, range(0, self.size, _READ))))
        if sums != self._checksums:
            raise Damaged("its weights have changed")


def array_at(memory: NDArray[np.uint8], reference: Reference) -> NDArray[Any]:
    """The tensor of a reference, as a view of the memory that the file was read into.

    Numbers in bfloat16, which NumPy does not have, are the uint16 of their bits.
    """
    name = reference["dtype"]
    dtype = np.dtype("uint16" if name == "bfloat16" else name)
    size = math.prod(reference["shape"]) * dtype.itemsize
    return memory[reference["offset"] :][:size].view(dtype).reshape(reference["shape"])


def _view(tensor: "torch.Tensor | NDArray[Any]") -> tuple[Any, ...]:
    """What two equal views of the same memory have in common."""
    if isinstance(tensor, np.ndarray):
        return (tensor.ctypes.data, tensor.dtype, tensor.shape, tensor.strides)
    return (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())


def _dense(tensor: "torch.Tensor | NDArray[Any]") -> "torch.Tensor | NDArray[Any]":
    if isinstance(tensor, np.ndarray):
        return np.asarray(tensor, order="C")
    return tensor.detach().contiguous()


def _bytes(dense: "torch.Tensor | NDArray[Any]") -> Any:
    """The memory of a tensor, as long as the tensor lives: NumPy does not have all of PyTorch's types."""
    address = dense.ctypes.data if isinstance(dense, np.ndarray) else dense.data_ptr()
    return (ctypes.c_uint8 * dense.nbytes).from_address(address)


def _checksums(content: NDArray[np.uint8]) -> list[int]:
    """The sum of each part as 64-bit integers, modulo 2^64: at the speed of the memory, unlike a digest.

    It is meant for a file that a crash or a worn disk has damaged, not for one that someone has changed.
    """
    numbers = content.view(np.int64)
    whole = len(numbers) - len(numbers) % (_CHECKED // 8)
    sums: list[int] = numbers[:whole].reshape(-1, _CHECKED // 8).sum(axis=1).tolist()
    return sums if whole == len(numbers) else [*sums, int(numbers[whole:].sum())]
