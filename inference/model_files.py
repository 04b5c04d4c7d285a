"""Whether the files of a model's folder are all there, can be read and are whole; it needs no torch."""

import json
from pathlib import Path
from typing import BinaryIO

# As transformers looks for them: the first that is there counts. An index names the files of its weights.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
LFS_POINTER = b"version https://git-lfs"


class ModelFilesError(Exception):
    """What is wrong with the files, in words that go after a colon."""


class Incomplete(ModelFilesError):
    """A file is not there."""


def check(folder: Path) -> None:
    """Look at what a model cannot do without; reads no weights, only what their files say of themselves.

    Raises:
        Incomplete: a file is missing.
        ModelFilesError: one cannot be read, or is not whole.
    """
    try:
        if not folder.is_dir():
            raise Incomplete("there is no such folder")
        if not (folder / "config.json").is_file():
            raise Incomplete("the folder holds no config.json")
        weights = _weights(folder)
        tokenizers = [file for name in TOKENIZERS if (file := folder / name).is_file()]
        if not tokenizers:
            raise Incomplete("the folder holds no tokenizer (tokenizer.json)")
        for file in [folder / "config.json", *weights, *tokenizers]:
            with file.open("rb") as opened:
                if file.suffix == ".safetensors":
                    _check_safetensors(file.name, opened, size=file.stat().st_size)
    except OSError as error:
        # A link to a file that is gone is as good as none.
        kind = Incomplete if isinstance(error, FileNotFoundError) else ModelFilesError
        raise kind(f"{error.filename or folder} cannot be read ({error.strerror})") from error


def _weights(folder: Path) -> list[Path]:
    for name in WEIGHTS:
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.is_file():
            files = _named_by(index)
            for file in files:
                if not file.is_file():
                    raise Incomplete(f"the folder lacks {file.name}, which {index.name} names")
            return files
    # A model's configuration may name others.
    if others := sorted(folder.glob("*.safetensors")):
        return others
    raise Incomplete(f"the folder holds no weights ({WEIGHTS[0]})")


def _named_by(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        return [index.parent / name for name in sorted(names)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFilesError(f"{index.name} is damaged") from error


def _check_safetensors(name: str, file: BinaryIO, *, size: int) -> None:
    """Its header says where the last tensor ends: a file whose copying broke off is shorter than that."""
    start = file.read(8)
    header_size = int.from_bytes(start, "little")
    if start == LFS_POINTER[:8]:
        raise ModelFilesError(f"{name} is not the weights but a pointer to them (run `git lfs pull`)")
    if size < 8 or header_size > size - 8:
        raise ModelFilesError(f"{name} is cut off or no safetensors file ({size} bytes)")
    try:
        header = json.loads(file.read(header_size))
        ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"]
        whole = 8 + header_size + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelFilesError(f"{name} is damaged or no safetensors file") from error
    if size < whole:
        raise ModelFilesError(f"{name} is cut off ({size} of {whole} bytes are there)")
