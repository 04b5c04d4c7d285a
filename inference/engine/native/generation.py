"""The generation of this CPU: which of the compiled kernels it can run."""

import ctypes
import logging
import platform
from functools import cache

import torch

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


_TILE_CAPABILITIES = ("amx_tile", "amx_int8", "amx_bf16")


def cpu_name() -> str:
    """The generation of this CPU, for the log."""
    return _NAMES.get(generation(), platform.machine())


def generation() -> str:
    """The generation of this CPU, as `build.GENERATIONS` names it."""
    capability = torch.backends.cpu.get_cpu_capability()
    if capability == "AVX512" and torch.cpu._is_vnni_supported():
        if built("amx") and _has_tiles():
            return "amx"
        # A compiler may know less than the CPU.
        if built("avx512_bf16") and torch.cpu._is_avx512_bf16_supported():
            return "avx512_bf16"
        return "avx512_vnni"
    if "arm_dotprod" in GENERATIONS and _hardware() & _ARM_DOT_PRODUCTS:
        return "arm_dotprod"
    return {"AVX512": "avx512", "AVX2": "avx2"}.get(capability, "any")


@cache
def _has_tiles() -> bool:
    """Whether this process may use AMX's tile registers, which Linux permits at a process's request."""
    if not all(torch.cpu.get_capabilities().get(name) for name in _TILE_CAPABILITIES):
        return False
    permitted = bool(torch.cpu._init_amx())
    if not permitted:
        logger.warning("The system refuses the AMX tile registers, so prompts and batches are slower.")
    return permitted


def _hardware() -> int:
    """The CPU's capabilities that Linux reports (AT_HWCAP); 0 on other systems."""
    tell = getattr(ctypes.CDLL(None), "getauxval", None)
    if tell is None:
        return 0
    tell.argtypes, tell.restype = [ctypes.c_ulong], ctypes.c_ulong
    return int(tell(16))
