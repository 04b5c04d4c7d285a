"""A file of tensors and a description of them. A damaged or truncated file is noticed when it is read.

The tensors come first, each at a multiple of 64 bytes, then the description as JSON, then a footer of fixed
size. So a writer needs to keep none of them, and the beginning of the file is its image in memory.
"""

import hashlib
import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import torch

_MAGIC = b"llmsPW01"
_FOOTER = struct.Struct("<8sQQ32s")
"""The magic number, the sizes of the tensors and of the description, and the digest of the description."""
_ALIGNMENT = 64
_CHECKED = 1 << 20
"""Bytes that have a checksum together."""
_READ = 1 << 25

Reference = dict[str, Any]
"""Where a tensor is in a file: its offset in bytes, its shape, and the name of its type."""


class Damaged(Exception):
    """A file is not whole, or not what was written."""


class TensorWriter:
    """Writes tensors one after the other; equal views of the same memory are written once.

    Raises:
        OSError: by every method, if the file cannot be written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._known: dict[tuple[Any, ...], Reference] = {}
        self._kept: list[torch.Tensor] = []

    def add(self, tensor: torch.Tensor, *, shared: bool = False) -> Reference:
        """Write a tensor.

        Args:
            shared: it may be added again, and lives until the last tensor has been added.
        """
        key = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if shared and key in self._known:
            return self._known[key]
        dense = tensor.detach().contiguous()
        padding = -self._size % _ALIGNMENT
        self._file.write(bytes(padding))
        reference = {
            "offset": self._size + padding,
            "shape": list(dense.shape),
            "dtype": str(dense.dtype).removeprefix("torch."),
        }
        if dense.numel():
            self._file.write(_bytes(dense.view(-1).view(torch.uint8)))
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
        mapped = (
            torch.from_file(self._file.name, shared=False, size=self._size, dtype=torch.uint8)
            if self._size
            else torch.empty(0, dtype=torch.uint8)
        )
        text = json.dumps({"checksums": _checksums(mapped), "description": description}).encode()
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

    def read_into(self, memory: torch.Tensor) -> None:
        """Read all tensors into the first `size` bytes of `memory`, and check them.

        Raises:
            Damaged: they are not what was written.
            OSError: they cannot be read.
        """
        view = _bytes(memory)
        with self._path.open("rb", buffering=0) as file, ThreadPoolExecutor(max_workers=2) as threads:

            def read(first: int) -> None:
                last = min(first + _READ, self.size)
                while first < last:
                    count = os.preadv(file.fileno(), [view[first:last]], first)
                    if count == 0:
                        raise Damaged("it is truncated")
                    first += count

            list(threads.map(read, range(0, self.size, _READ)))
        if _checksums(memory[: self.size]) != self._checksums:
            raise Damaged("its weights have changed")


def tensor_at(memory: torch.Tensor, reference: Reference) -> torch.Tensor:
    """The tensor of a reference, as a view of the memory that the file was read into."""
    dtype: torch.dtype = getattr(torch, reference["dtype"])
    shape: list[int] = reference["shape"]
    size = dtype.itemsize
    for dimension in shape:
        size *= dimension
    return memory[reference["offset"] :][:size].view(dtype).view(shape)


def _bytes(memory: torch.Tensor) -> memoryview:
    array: Any = memory.numpy()
    return memoryview(array)


def _checksums(content: torch.Tensor) -> list[int]:
    """The sum of each part as 64-bit integers, modulo 2^64: at the speed of the memory, unlike a digest.

    It is meant for a file that a crash or a worn disk has damaged, not for one that someone has changed.
    """
    numbers = content.view(torch.int64)
    whole = len(numbers) - len(numbers) % (_CHECKED // 8)
    sums: list[int] = numbers[:whole].view(-1, _CHECKED // 8).sum(1).tolist()
    return [*sums, int(numbers[whole:].sum())]
