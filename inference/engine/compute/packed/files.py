"""The names of the files with packed weights and with compiled models."""

from pathlib import Path

COMPILED = ".compiled"
"""The suffix of a compiled model's file, which otherwise has the name of its packed weights."""


def has_compiled_model(folder: Path) -> bool:
    """Whether an earlier start has kept a compiled model there."""
    return any(folder.glob(f"*{COMPILED}"))
