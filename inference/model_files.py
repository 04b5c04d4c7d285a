"""Checks that the files of a model folder exist, are readable and are complete; it needs no torch."""

import json
from pathlib import Path
from typing import BinaryIO

# In the order in which transformers looks for them. An index lists the files that hold the weights.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")
LFS_POINTER = b"version https://git-lfs"


class ModelFilesError(Exception):
    """What is wrong with the files; the text is a clause that follows a colon."""


class Incomplete(ModelFilesError):
    """A file is missing."""


def check(folder: Path) -> None:
    """Check the files that a model needs; of the weights it reads only the headers.

    Raises:
        Incomplete: a file is missing.
        ModelFilesError: a file cannot be read, or is not complete.
    """
    try:
        if not folder.is_dir():
            raise Incomplete("the folder does not exist")
        if not (folder / "config.json").is_file():
            raise Incomplete("the folder contains no config.json")
        weights = _weights(folder)
        tokenizers = [file for name in TOKENIZERS if (file := folder / name).is_file()]
        if not tokenizers:
            raise Incomplete("the folder contains no tokenizer (tokenizer.json)")
        for file in [folder / "config.json", *weights, *tokenizers]:
            with file.open("rb") as opened:
                if file.suffix == ".safetensors":
                    _check_safetensors(file.name, opened, size=file.stat().st_size)
    except OSError as error:
        # A dangling link counts as a missing file.
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
                    raise Incomplete(f"the folder lacks {file.name}, which {index.name} lists")
            return files
    # The configuration of a model may name other files.
    if others := sorted(folder.glob("*.safetensors")):
        return others
    raise Incomplete(f"the folder contains no weights ({WEIGHTS[0]})")


def _named_by(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        return [index.parent / name for name in sorted(names)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelFilesError(f"{index.name} is damaged") from error


def _check_safetensors(name: str, file: BinaryIO, *, size: int) -> None:
    """Compare the size with the end of the last tensor: an interrupted copy leaves a shorter file."""
    start = file.read(8)
    header_size = int.from_bytes(start, "little")
    if start == LFS_POINTER[:8]:
        raise ModelFilesError(f"{name} is a Git LFS pointer instead of the weights (run `git lfs pull`)")
    if size < 8 or header_size > size - 8:
        raise ModelFilesError(f"{name} is truncated or not a safetensors file ({size} bytes)")
    try:
        header = json.loads(file.read(header_size))
        ends = [tensor["data_offsets"][1] for key, tensor in header.items() if key != "__metadata__"]
        whole = 8 + header_size + max(ends, default=0)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelFilesError(f"{name} is damaged or not a safetensors file") from error
    if size < whole:
        raise ModelFilesError(f"{name} is truncated ({size} of {whole} bytes)")
