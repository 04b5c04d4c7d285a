"""The binding of the native draw: `sampler.draw`, some ten times as fast."""

import ctypes
from typing import Any

import numpy as np

from inference.engine.native.abi import DrawCall
from inference.engine.native.address import address
from inference.engine.request import SamplingParams
from inference.engine.sampler import Draw
from inference.engine.token_set import TokenSet
from inference.engine.top_k import Array


def native_draw(library: ctypes.CDLL) -> Draw:
    """The draw of a library of kernels."""
    # It keeps Python's lock: a draw takes microseconds, to get the lock back may take longer.
    function: Any = ctypes.PyDLL(library._name, handle=library._handle).draw
    function.argtypes, function.restype = [ctypes.POINTER(DrawCall)], ctypes.c_int64

    def draw(
        logits: Array, params: SamplingParams, number: float, allowed: TokenSet | None = None
    ) -> int | None:
        dense = np.ascontiguousarray(logits, dtype=np.float32)
        index: int = function(
            DrawCall(
                logits=address(dense),
                allowed=None if allowed is None else address(allowed.words),
                allowed_count=0 if allowed is None else len(allowed),
                count=len(dense),
                top_k=params.top_k,
                temperature=params.temperature,
                top_p=params.top_p,
                min_p=params.min_p,
                number=number,
            )
        )
        return None if index < 0 else index

    return draw
