"""A copy of the kernels' sources, for tests that change or compile them."""

import shutil
from pathlib import Path

import pytest

from inference.engine.native import build

COMPILER = shutil.which("c++") or shutil.which("g++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler is here")


def copy_sources(monkeypatch: pytest.MonkeyPatch, to: Path) -> Path:
    """Build the kernels from a copy that has no libraries yet, with the options of an ordinary build."""
    copied = shutil.copytree(build._FOLDER, to / "native", ignore=shutil.ignore_patterns("*.so"))
    monkeypatch.setattr(build, "_FOLDER", copied)
    monkeypatch.delenv("KERNELS_DIR", raising=False)
    monkeypatch.delenv("KERNELS_FLAGS", raising=False)
    return copied
