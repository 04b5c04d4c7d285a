"""Compiling the native kernels, once for each generation of CPUs: an image runs on other machines as well."""

import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_FOLDER = Path(__file__).parent
_COMPILE = ["-O3", "-std=c++17", "-shared", "-fPIC", "-fopenmp-simd", "-pthread"]
# What -ffast-math would allow, but for what takes "not a number" for a number: sums may be done in vectors.
_ARITHMETIC = [
    *("-ffp-contract=fast", "-fassociative-math", "-fno-signed-zeros"),
    *("-fno-trapping-math", "-fno-math-errno"),
]
_WIDE = ["-march=x86-64-v4", "-mprefer-vector-width=512"]
GENERATIONS: dict[str, list[str]] = {"any": []}
if platform.machine().lower() in {"aarch64", "arm64"}:
    GENERATIONS |= {"arm_dotprod": ["-march=armv8.2-a+dotprod"]}
if platform.machine().lower() in {"x86_64", "amd64"}:
    GENERATIONS |= {"avx2": ["-march=x86-64-v3"], "avx512": _WIDE, "avx512_vnni": [*_WIDE, "-mavx512vnni"]}


def build() -> list[Path]:
    """Compile what is missing or older than the sources; nothing where no compiler can.

    Returns:
        The libraries that are there and new.
    """
    compiler = shutil.which("c++") or shutil.which("g++")
    for generation, options in GENERATIONS.items():
        if compiler is None or built(generation):
            continue
        with tempfile.TemporaryDirectory(dir=_FOLDER) as work:
            compiled = Path(work) / "kernels.so"
            command = [
                compiler,
                *_COMPILE,
                *_ARITHMETIC,
                *options,
                "-o",
                str(compiled),
                *map(str, _sources()),
            ]
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
            if done.returncode:
                print(
                    f"The compiler refused the kernels for {generation}: {done.stderr.strip()}",
                    file=sys.stderr,
                )
                continue
            compiled.replace(_library(generation))
    return [library for generation in GENERATIONS if (library := built(generation))]


def built(generation: str) -> Path | None:
    """The library for a generation of CPUs, if it is there and newer than its sources."""
    library = _library(generation)
    if not library.exists():
        return None
    newest = max(source.stat().st_mtime for source in [*_sources(), *_FOLDER.glob("*.h")])
    return library if library.stat().st_mtime >= newest else None


def _library(generation: str) -> Path:
    return _FOLDER / f"kernels-{generation}.so"


def _sources() -> list[Path]:
    return sorted(_FOLDER.glob("*.cpp"))
