"""Which slots of the KV cache belong to whom; the memory itself is `kv_cache`'s.

A request's need is known when it is admitted (prompt + max_new_tokens), so each sequence gets one contiguous
range of slots and never has to grow, wait or be preempted.
"""

from bisect import insort
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Slots:
    """A sequence's range of slots, `[start, start + size)`; a slot holds the keys and values of one token."""

    start: int
    size: int


class SlotPool:
    """The slots of one KV cache, handed out as contiguous ranges.

    Args:
        size: how many slots there are, in tokens.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._free: list[Slots] = [Slots(0, size)]

    @property
    def free(self) -> int:
        """How many slots belong to nobody."""
        return sum(gap.size for gap in self._free)

    def allocate(self, size: int) -> Slots | None:
        """Take a range of `size` slots from the smallest gap that holds it; None where no gap does."""
        fitting = [gap for gap in self._free if gap.size >= size]
        if not fitting:
            return None
        gap = min(fitting, key=lambda gap: gap.size)
        self._free.remove(gap)
        if gap.size > size:
            insort(self._free, Slots(gap.start + size, gap.size - size))
        return Slots(gap.start, size)

    def release(self, slots: Slots) -> None:
        """Give a range back; it joins the gaps beside it."""
        insort(self._free, slots)
        merged: list[Slots] = []
        for gap in self._free:
            if merged and merged[-1].start + merged[-1].size == gap.start:
                merged[-1] = Slots(merged[-1].start, merged[-1].size + gap.size)
            else:
                merged.append(gap)
        self._free = merged
