"""Compiles the native kernels once for each generation of CPUs, because an image also runs on other machines.

A library's name holds a digest of the sources and options that it was compiled from. File times would not do:
an image's cached layer is older than a fresh checkout of the same sources.
"""

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

_FOLDER = Path(__file__).parent
_COMPILE = ["-O3", "-std=c++20", "-shared", "-fPIC", "-fopenmp-simd", "-pthread"]
# What -ffast-math allows, except what breaks NaN and infinity: sums may be vectorised.
_ARITHMETIC = [
    *("-ffp-contract=fast", "-fassociative-math", "-fno-signed-zeros"),
    *("-fno-trapping-math", "-fno-math-errno"),
]
_WIDE = ["-march=x86-64-v4", "-mprefer-vector-width=512"]
GENERATIONS: dict[str, list[str]] = {"any": []}
if platform.machine().lower() in {"aarch64", "arm64"}:
    GENERATIONS |= {"arm_dotprod": ["-march=armv8.2-a+dotprod"]}
if platform.machine().lower() in {"x86_64", "amd64"}:
    GENERATIONS |= {
        "avx2": ["-march=x86-64-v3"],
        "avx512": _WIDE,
        "avx512_vnni": [*_WIDE, "-mavx512vnni"],
        "avx512_bf16": [*_WIDE, "-mavx512vnni", "-mavx512bf16"],
        "amx": [*_WIDE, "-mavx512vnni", "-mamx-tile", "-mamx-int8", "-mamx-bf16"],
    }


def build() -> list[Path]:
    """Compile the libraries that are missing or older than the sources, if there is a compiler.

    Returns:
        The libraries of these sources.
    """
    compiler = shutil.which("c++") or shutil.which("g++")
    _libraries().mkdir(parents=True, exist_ok=True)
    missing = [generation for generation in GENERATIONS if not built(generation)]
    if compiler is not None and missing:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(partial(_compile, compiler), missing))
    return [library for generation in GENERATIONS if (library := built(generation))]


def _compile(compiler: str, generation: str) -> None:
    folder = _libraries()
    with tempfile.TemporaryDirectory(dir=folder) as work:
        compiled = Path(work) / "kernels.so"
        command = [
            compiler,
            *_COMPILE,
            *_ARITHMETIC,
            *GENERATIONS[generation],
            *_further_options(),
            "-o",
            str(compiled),
            *map(str, _sources()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode:
            print(
                f"The compiler failed on the kernels for {generation}: {done.stderr.strip()}",
                file=sys.stderr,
            )
            return
        for stale in folder.glob(f"kernels-{generation}-*.so"):
            stale.unlink()
        compiled.replace(_library(generation))


def built(generation: str) -> Path | None:
    """The library for a generation of CPUs, if it was built from these sources."""
    if generation not in GENERATIONS:
        return None
    library = _library(generation)
    return library if library.exists() else None


def _library(generation: str) -> Path:
    options = [_COMPILE, _ARITHMETIC, GENERATIONS[generation], _further_options()]
    digest = hashlib.sha256(repr(options).encode() + _contents(_FOLDER))
    return _libraries() / f"kernels-{generation}-{digest.hexdigest()[:16]}.so"


@cache
def _contents(folder: Path) -> bytes:
    """A digest of the sources in a folder, read once: a process asks for the library of every layer."""
    digest = hashlib.sha256()
    for source in [*sorted(folder.glob("*.cpp")), *sorted(folder.glob("*.h"))]:
        digest.update(f"{source.name}\n".encode())
        digest.update(source.read_bytes())
    return digest.digest()


def _libraries() -> Path:
    """The folder of the libraries: `KERNELS_DIR`, or that of the sources.

    The image sets `KERNELS_DIR`, so that a working tree mounted over the sources does not hide the libraries.
    """
    return Path(os.environ.get("KERNELS_DIR") or _FOLDER)


def _further_options() -> list[str]:
    """Additional compiler options from `KERNELS_FLAGS`, which `make sanitize` sets."""
    return shlex.split(os.environ.get("KERNELS_FLAGS", ""))


def _sources() -> list[Path]:
    return sorted(_FOLDER.glob("*.cpp"))
