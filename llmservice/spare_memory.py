"""Whether the machine's memory holds one more worker beside those that run.

gunicorn's master process imports this module, so it must not import torch.
"""

import math
from collections.abc import Collection
from pathlib import Path

PROC = Path("/proc")
CGROUP = Path("/sys/fs/cgroup")


def holds_one_more(pids: Collection[int], *, proc: Path = PROC, cgroup: Path = CGROUP) -> bool:
    """Whether as much memory is free as the largest of these processes has, what it shares included.

    A successor shares the weights, unless it loads another version of the model. What cannot be read limits
    nothing.
    """
    needed = max((_without_files(proc / str(pid) / "status") for pid in pids), default=0)
    return needed <= available_bytes(proc=proc, cgroup=cgroup)


def available_bytes(*, proc: Path = PROC, cgroup: Path = CGROUP) -> float:
    """What the machine and the control group leave to new processes; infinite if that is unknown."""
    free = [_field(proc / "meminfo", "MemAvailable:"), _free_in_cgroup(cgroup)]
    return min((amount for amount in free if amount is not None), default=math.inf)


def _without_files(status: Path) -> int:
    """The resident bytes of a process that no file backs."""
    return sum(_field(status, name) or 0 for name in ("RssAnon:", "RssShmem:"))


def _free_in_cgroup(folder: Path) -> int | None:
    """Bytes that the control group (v2, then v1) leaves, None if it sets no limit."""
    for limit, used, stat, inactive in (
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ):
        try:
            left = int((folder / limit).read_text()) - int((folder / used).read_text())
        except (OSError, ValueError):  # there is none, or its limit is "max"
            continue
        # Of what counts as used, the kernel takes back first the pages of files that nobody has used lately.
        return left + (_field(folder / stat, f"{inactive} ") or 0)
    return None


def _field(file: Path, name: str) -> int | None:
    """The number of bytes in the line of `file` that begins with `name`, None if there is none."""
    try:
        words = next(line for line in file.read_text().splitlines() if line.startswith(name)).split()
    except (OSError, StopIteration):
        return None
    return int(words[1]) * (1024 if words[-1] == "kB" else 1)
