"""A copy of the kernels' sources, for tests that change or compile them."""

import shutil
from pathlib import Path

import pytest

from inference.engine.native import build

COMPILER = shutil.which("c++") or shutil.which("g++")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler is here")


def copy_sources(monkeypatch: pytest.MonkeyPatch, to: Path) -> Path:
    """Build the kernels from a copy that has no libraries yet, with the options of an ordinary build.

    Of the sources it has the headers and that of the layout, which compiles at once: it is compared before
    anything else of a library is used.
    """
    copied = to / "native"
    copied.mkdir()
    for source in (*build._FOLDER.glob("*.h"), build._FOLDER / "abi.cpp"):
        shutil.copy2(source, copied)
    monkeypatch.setattr(build, "_FOLDER", copied)
    monkeypatch.delenv("KERNELS_DIR", raising=False)
    monkeypatch.delenv("KERNELS_FLAGS", raising=False)
    return copied
