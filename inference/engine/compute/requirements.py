"""What a CPU and the native kernels must have to compute a weight format; it needs no torch."""

from inference.engine.config import Device, KVCacheDtype, WeightDtype
from inference.engine.errors import ModelUnavailable
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels


def with_8_bit_products(kernels: Kernels | None, *, name: str) -> Kernels:
    """The kernels, if they multiply inputs in 8 bits, for the format `name`.

    Raises:
        ModelUnavailable: this CPU cannot multiply them, or the native kernels are missing.
    """
    if kernels and kernels.has_8_bit_products:
        return kernels
    raise ModelUnavailable(
        f"{name} weights need the native kernels and a CPU with AVX2 or 64-bit ARM: build them with a C++ "
        "compiler (python -m inference.engine.native), or set LLM_DTYPE=float32."
    )


def with_bfloat16(kernels: Kernels | None) -> Kernels:
    """The kernels, if they multiply in bfloat16.

    Raises:
        ModelUnavailable: this CPU cannot, or the native kernels are missing.
    """
    if kernels and kernels.has_bfloat16:
        return kernels
    raise ModelUnavailable(
        "Arithmetic in bfloat16 needs the native kernels and a CPU with AVX512-BF16 or AMX: build them with "
        "a C++ compiler (python -m inference.engine.native), or set LLM_DTYPE=auto to compute in float32."
    )


def check_kv_cache(chosen: KVCacheDtype, *, native: bool) -> None:
    """Check that attention can be computed with keys and values in this type.

    Args:
        native: whether the native kernels compute it; PyTorch's operators know no int8.

    Raises:
        ModelUnavailable: it cannot.
    """
    if chosen == "int8" and not native:
        raise ModelUnavailable(
            "LLM_KV_CACHE_DTYPE=int8 needs a CPU and the native kernels: build them with a C++ compiler "
            "(python -m inference.engine.native), or set LLM_KV_CACHE_DTYPE=float16."
        )


def check(*, device: Device, dtype: WeightDtype, kv_cache_dtype: KVCacheDtype) -> None:
    """Check what the settings ask for of a CPU; what they ask for of a GPU only PyTorch can tell.

    Raises:
        ModelUnavailable: this machine cannot compute it; the message says what to set.
    """
    if device == "cuda":
        from inference.engine.compute.path import choose_path

        choose_path(device=device, dtype=dtype)
    kernels = native.load()
    if dtype == "bfloat16":
        with_bfloat16(kernels)
    elif dtype in ("int8", "int4"):
        with_8_bit_products(kernels, name=dtype)
    check_kv_cache(kv_cache_dtype, native=device != "cuda" and kernels is not None)
