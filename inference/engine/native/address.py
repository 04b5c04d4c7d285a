"""Where the numbers of a NumPy array are, for a kernel that is called for each token."""

import ctypes
from typing import Any

from inference.engine.top_k import Array


def address(array: Array) -> int:
    """The address of a dense array that is not empty: `array.ctypes.data`, in a third of its time."""
    if not array.flags.writeable:  # ctypes refuses it
        return array.ctypes.data
    buffer: Any = array
    return ctypes.addressof(ctypes.c_char.from_buffer(buffer))
