"""Memory with huge pages that several processes map (Linux): one fills it, the others find it by its name.

Pages of a file or of `/dev/shm` are small on most systems, and then address translation takes a part of every
step. Linux gives shared memory huge pages where it is asked to merge small ones (MADV_COLLAPSE, since 6.1),
whatever the system's policy for shared memory is.
"""

import ctypes
import fcntl
import mmap
import os
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_HUGE_PAGE = 1 << 21
_MAP_FIXED = 0x10
_MADV_HUGEPAGE, _MADV_POPULATE_READ, _MADV_COLLAPSE = 14, 22, 25
_ADD_SEALS, _GET_SEALS = 1033, 1034
_SEALS = 0x2 | 0x4 | 0x8
"""Nothing may shrink, grow or write it."""
_MOSTLY = 0.9
_FAILED = ctypes.c_void_p(-1).value


class NoHugePages(Exception):
    """The system has no huge pages for shared memory, or too few; the message says which."""


@dataclass(frozen=True)
class SharedMemory:
    """Memory that no process can change any more.

    Attributes:
        content: its bytes. Writing to them ends the process.
        address: finds it while this process lives and uses it: the number of the process, and of its
            descriptor.
    """

    content: NDArray[np.uint8]
    address: tuple[int, int]


def create(name: str, size: int, fill: Callable[[NDArray[np.uint8]], None]) -> SharedMemory:
    """New shared memory of at least `size` bytes; `fill` writes its content, and what it raises is raised.

    Raises:
        NoHugePages: it would have small pages.
        OSError: there is no shared memory, or too little.
    """
    if not hasattr(os, "memfd_create"):
        raise NoHugePages("this is not Linux")
    whole = -(-size // _HUGE_PAGE) * _HUGE_PAGE
    descriptor = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, whole)
        writable = _map(descriptor, whole, mmap.PROT_READ | mmap.PROT_WRITE)
        _merge_pages(descriptor, writable)
        _check_pages(writable)  # before it takes memory and time that are in vain
        fill(writable)
        # The seal against writing is refused while a writable mapping exists.
        del writable
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALS)
        return _opened(descriptor, whole)
    finally:
        os.close(descriptor)


def attach(name: str, size: int, address: tuple[int, int]) -> SharedMemory | None:
    """The memory that another process has created or attached under this name; None if it is not there."""
    try:
        descriptor = os.open("/proc/{}/fd/{}".format(*address), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    whole = -(-size // _HUGE_PAGE) * _HUGE_PAGE
    try:
        link = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        sealed = fcntl.fcntl(descriptor, _GET_SEALS) & _SEALS == _SEALS
        if link == f"/memfd:{name} (deleted)" and sealed and os.fstat(descriptor).st_size == whole:
            return _opened(descriptor, whole)
    except (OSError, NoHugePages):
        pass
    finally:
        os.close(descriptor)
    return None


def _opened(descriptor: int, size: int) -> SharedMemory:
    # The descriptor stays open while the memory is used, so that further processes find it.
    kept = os.dup(descriptor)
    content = _map(kept, size, mmap.PROT_READ, freed=lambda: os.close(kept))
    _advise(content, _MADV_POPULATE_READ)
    _check_pages(content)
    return SharedMemory(content, (os.getpid(), kept))


def _merge_pages(descriptor: int, memory: NDArray[np.uint8]) -> None:
    """Have huge pages in all of it. One small page is written in each, because an empty one is not merged."""
    _advise(memory, _MADV_HUGEPAGE)
    for offset in range(0, len(memory), _HUGE_PAGE):
        os.pwrite(descriptor, b"\0", offset)
    _advise(memory, _MADV_COLLAPSE)


def _check_pages(memory: NDArray[np.uint8]) -> None:
    huge, size = _huge_bytes(memory.ctypes.data), len(memory)
    if huge < _MOSTLY * size:
        raise NoHugePages(f"{huge / 1e6:.0f} of {size / 1e6:.0f} MB have huge pages")


def _advise(memory: NDArray[np.uint8], advice: int) -> None:
    # What the kernel does not know or cannot do shows in the huge pages, which are counted.
    _libc().madvise(memory.ctypes.data, len(memory), advice)


def _map(
    descriptor: int, size: int, protection: int, *, freed: Callable[[], None] = lambda: None
) -> NDArray[np.uint8]:
    """A mapping that begins at a huge page; Python's `mmap` leaves the address to the system.

    It ends with the last array in it, and then `freed` is called.
    """
    libc = _libc()
    reserved = libc.mmap(None, size + _HUGE_PAGE, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    if reserved == _FAILED:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    begin = -(-reserved // _HUGE_PAGE) * _HUGE_PAGE
    if libc.mmap(begin, size, protection, mmap.MAP_SHARED | _MAP_FIXED, descriptor, 0) == _FAILED:
        error = ctypes.get_errno()
        libc.munmap(reserved, size + _HUGE_PAGE)
        raise OSError(error, os.strerror(error))
    bytes_there = (ctypes.c_uint8 * size).from_address(begin)

    def unmap() -> None:
        libc.munmap(reserved, size + _HUGE_PAGE)
        freed()

    # At the end of the process other threads may still compute with it.
    weakref.finalize(bytes_there, unmap).atexit = False
    return np.frombuffer(memoryview(bytes_there), dtype=np.uint8)


def _huge_bytes(address: int) -> int:
    """How much of the mapping that begins at `address` has huge pages."""
    found = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if line.startswith(f"{address:x}-"):
            found = True
        elif found and line.startswith("ShmemPmdMapped:"):
            return int(line.split()[1]) * 1024
    return 0


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    number = ctypes.c_int
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, number, number, number, ctypes.c_long]
    libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, number]
    return libc
