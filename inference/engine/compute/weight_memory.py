"""Memory for what every step reads, in huge pages if the system gives them on request (Linux).

With small pages address translation takes a part of a step's time.
"""

import mmap
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

HUGE_PAGE = 1 << 21


def huge_pages(size: int) -> NDArray[np.uint8]:
    """At least `size` bytes, aligned to a huge page. The system provides them as they are written."""
    pages = mmap.mmap(-1, size + HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # the system has no huge pages
            pages.madvise(mmap.MADV_HUGEPAGE)
    chunk = np.frombuffer(pages, dtype=np.uint8)
    return chunk[-chunk.ctypes.data % HUGE_PAGE :]
