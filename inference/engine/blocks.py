"""Which blocks of the KV cache are in use; the memory itself is `kv_cache`'s."""

from collections.abc import Iterable

BLOCK = 16
"""Tokens of a block: attention computes the scores of this many keys side by side."""


def blocks_of(tokens: int) -> int:
    """How many blocks hold this many tokens."""
    return -(-tokens // BLOCK)


class BlockPool:
    """The blocks of one KV cache, each used by any number of sequences.

    Taking, sharing and releasing a block take the same time however many there are.

    Args:
        count: how many blocks there are; they are numbered from 0.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._users = [0] * count
        self._free = list(reversed(range(count)))  # the one released last is taken first: its memory exists

    @property
    def free(self) -> int:
        """How many blocks nobody uses."""
        return len(self._free)

    def users(self, block: int) -> int:
        """How many use this block."""
        return self._users[block]

    def take(self, count: int = 1) -> list[int] | None:
        """Take this many blocks, each with one user; None, and no change, where fewer are free."""
        if count > len(self._free):
            return None
        taken = [self._free.pop() for _ in range(count)]
        for block in taken:
            self._users[block] = 1
        return taken

    def share(self, blocks: Iterable[int]) -> None:
        """Add a user to each of these blocks, which are in use."""
        for block in blocks:
            self._users[block] += 1

    def release(self, blocks: Iterable[int]) -> None:
        """Remove a user from each of these blocks; without users a block is free."""
        for block in blocks:
            self._users[block] -= 1
            if not self._users[block]:
                self._free.append(block)
