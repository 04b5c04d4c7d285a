"""A short name for everything that decides a text beside the request: OpenAI's `system_fingerprint`."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

_BLOCK = 1024
_BLOCKS_OF_A_REGION = 4
"""Of a tensor, or of one of the `_REGIONS` of a file whose tensors are not known."""
_REGIONS = 64
_READ_WHOLE = 64 * 1024 * 1024
"""A file of at most this many bytes is read whole."""


def fingerprint(folder: Path, arithmetic: Iterable[str]) -> str:
    """The fingerprint of a model's files and of the way in which it is computed.

    Of a large file of weights, it reads the header and a few blocks of each tensor, because training changes
    every tensor. So it costs milliseconds, not a pass over the weights.

    Args:
        folder: of the model; its sub-folders do not count.
        arithmetic: whatever else decides the bits of a result, such as the weight format, the compute path
            and the versions of the libraries. The order counts.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for part in arithmetic:
        _add(digest, part.encode())
    for file in sorted(folder.iterdir()):
        if file.is_file() and not file.name.startswith("."):
            _add(digest, file.name.encode())
            for block in _sampled(file):
                _add(digest, block)
    return f"fp_{digest.hexdigest()[:16]}"


def sources_digest(folder: Path) -> str:
    """A digest of the sources in a folder, of Python and C++, sub-folders included."""
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix in {".py", ".cpp", ".h"}:
            _add(digest, str(file.relative_to(folder)).encode())
            _add(digest, file.read_bytes())
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", part: bytes) -> None:
    """With its length, so that no two lists of parts are the same bytes."""
    digest.update(len(part).to_bytes(8, "little") + part)


def _sampled(file: Path) -> Iterator[bytes]:
    """The size of a file, and the blocks of it that count."""
    size = file.stat().st_size
    yield str(size).encode()
    with file.open("rb") as opened:
        if file.suffix == ".safetensors":
            header = opened.read(int.from_bytes(opened.read(8), "little"))
            yield header
            regions = list(_tensors(header, offset=8 + len(header)))
        elif size <= _READ_WHOLE:
            yield opened.read()
            return
        else:
            regions = [(size * i // _REGIONS, size * (i + 1) // _REGIONS) for i in range(_REGIONS)]
        for begin, end in regions:
            for i in range(_BLOCKS_OF_A_REGION):
                opened.seek(begin + (end - begin) * i // _BLOCKS_OF_A_REGION)
                yield opened.read(min(_BLOCK, end - opened.tell()))


def _tensors(header: bytes, *, offset: int) -> Iterator[tuple[int, int]]:
    """Where each tensor of a safetensors file begins and ends."""
    for name, tensor in json.loads(header).items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            yield offset + begin, offset + end
