"""The generation of this CPU: which of the compiled kernels it can run."""

import ctypes
import logging
import os
import platform
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from inference.engine.native.build import GENERATIONS, built

logger = logging.getLogger(__name__)

_ARM_DOT_PRODUCTS = 1 << 20
"""Linux's HWCAP_ASIMDDP."""

_NAMES = {
    "amx": "AMX",
    "arm_dotprod": "64-bit ARM with dot products",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512_vnni": "AVX-512 with VNNI",
    "avx512": "AVX-512",
    "avx2": "AVX2",
}

_CPUINFO = Path("/proc/cpuinfo")
_AVX2 = frozenset({"avx2", "fma"})
_AVX512 = _AVX2 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
_TILES = frozenset({"amx_tile", "amx_int8", "amx_bf16"})
_ARCH_PRCTL, _GET_PERMISSION, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1022, 0x1023, 18
"""Linux's system call, its commands for registers that a process must ask for, and the tile registers."""


def cpu_name() -> str:
    """The generation of this CPU, for the log."""
    return _NAMES.get(generation(), platform.machine())


def generation() -> str:
    """The generation of this CPU, as `build.GENERATIONS` names it."""
    if "arm_dotprod" in GENERATIONS:
        return "arm_dotprod" if _hardware() & _ARM_DOT_PRODUCTS else "any"
    if "avx2" not in GENERATIONS:
        return "any"
    known, flags = capability(), _flags()
    if known == "AVX512" and "avx512_vnni" in flags:
        if built("amx") and _has_tiles():
            return "amx"
        # A compiler may know less than the CPU.
        if built("avx512_bf16") and "avx512_bf16" in flags:
            return "avx512_bf16"
        return "avx512_vnni"
    return {"AVX512": "avx512", "AVX2": "avx2"}.get(known, "any")


def capability() -> str:
    """What PyTorch's operators use of an x86 CPU, as PyTorch says it: AVX512, AVX2 or DEFAULT.

    `ATEN_CPU_CAPABILITY` limits PyTorch, and the kernels with it.
    """
    limit = os.environ.get("ATEN_CPU_CAPABILITY", "")
    if limit in {"avx512", "avx2", "default"}:
        return limit.upper()
    flags = _flags()
    return "AVX512" if flags >= _AVX512 else "AVX2" if flags >= _AVX2 else "DEFAULT"


@cache
def _flags() -> frozenset[str]:
    """The instructions of an x86 CPU, by Linux's names."""
    try:
        with _CPUINFO.open() as lines:
            return _flags_of(lines)
    except OSError:
        return _flags_by_torch()


def _flags_of(lines: Iterable[str]) -> frozenset[str]:
    """Those of the first CPU; the lines of the others are not read, because the system would write them."""
    flags = next((line for line in lines if line.startswith("flags")), ":")
    return frozenset(flags.partition(":")[2].split())


def _flags_by_torch() -> frozenset[str]:
    """As far as PyTorch tells them, for systems that are not Linux."""
    import torch

    vectors = {"AVX512": _AVX512, "AVX2": _AVX2}.get(torch.backends.cpu.get_cpu_capability(), frozenset())
    further = torch.cpu.get_capabilities()
    return vectors | {name for name in _TILES | {"avx512_vnni", "avx512_bf16"} if further.get(name)}


@cache
def _has_tiles() -> bool:
    """Whether this process may use AMX's tile registers, which Linux permits at a process's request."""
    if not _flags() >= _TILES:
        return False
    permitted = _tiles_permitted()
    if not permitted:
        logger.warning("The system refuses the AMX tile registers, so prompts and batches are slower.")
    return permitted


def _tiles_permitted() -> bool:
    """Ask Linux for the tile registers."""
    call = getattr(ctypes.CDLL(None), "syscall", None)
    if platform.system() != "Linux" or call is None:
        return False
    call.argtypes, call.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p], ctypes.c_long
    permitted = ctypes.c_ulong()
    return (
        call(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0
        and call(_ARCH_PRCTL, _GET_PERMISSION, ctypes.addressof(permitted)) == 0
        and bool(permitted.value >> _TILE_DATA & 1)
    )


def _hardware() -> int:
    """The CPU's capabilities that Linux reports (AT_HWCAP); 0 on other systems."""
    tell = getattr(ctypes.CDLL(None), "getauxval", None)
    if tell is None:
        return 0
    tell.argtypes, tell.restype = [ctypes.c_ulong], ctypes.c_ulong
    return int(tell(16))
