"""Which blocks of the KV cache hold what was computed before, so that nothing is computed twice.

A full block has a name: a digest of its tokens, of all tokens before them, and of who may find it. Attention
gives a token the same bits however it is computed, so a block that has been found is as good as a new one.

Only full blocks are found, and a text's last token is always computed, because its logits are needed. So a
block that two texts use is never written. A block without users stays until its memory is needed.
"""

from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol

from inference.engine.blocks import BLOCK, BlockPool
from inference.engine.config import PrefixSharing
from inference.engine.load import PrefixWork
from inference.engine.request import GenerationRequest

_NAME_BYTES = 32
"""Long enough to assume that no two texts have the same digest, so their tokens are not compared."""


class Text(Protocol):
    """What the cache needs of a sequence.

    Attributes:
        token_ids: prompt and generated tokens.
        blocks: its blocks, while it runs.
        block_names: of its first blocks, as far as they have been needed; only the cache changes them.
    """

    token_ids: list[int]
    blocks: list[int] | None
    block_names: list[bytes]

    @property
    def request(self) -> GenerationRequest: ...

    @property
    def computed(self) -> int:
        """How many of its first tokens its blocks hold."""
        ...

    @property
    def lasting(self) -> int:
        """How many of its first tokens will not be computed again once they have been."""
        ...

    @property
    def findable(self) -> int:
        """How many of its first tokens need not be computed where they are found."""
        ...

    def skip_to(self, tokens: int) -> None:
        """Treat this many of its first tokens as computed."""
        ...


class PrefixCache:
    """The blocks of a KV cache, with those that were computed before and can be used again.

    Its blocks belong to it as one more user of each. Every block before one that it has is one that it has
    as well, because a text uses all of them or none, and releases the last of them first.

    Args:
        blocks: all blocks of the KV cache; nobody else takes any.
        sharing: "per_key" finds only what the same owner computed, so that nobody can tell from the time to
            the first token what another's prompts are; "shared" finds everything, "off" nothing.
    """

    def __init__(self, blocks: BlockPool, sharing: PrefixSharing = "per_key") -> None:
        self._hits = self._found_tokens = self._evictions = 0
        self._pool = blocks
        self._sharing = sharing
        self._blocks: dict[bytes, int] = {}
        self._names: dict[int, bytes] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()  # without other users, least recently used first

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return self._pool.count

    @property
    def free(self) -> int:
        """How many blocks no text uses."""
        return self._pool.free + len(self._idle)

    @property
    def kept(self) -> int:
        """How many blocks can be found."""
        return len(self._blocks)

    @property
    def work(self) -> PrefixWork:
        """What it has done."""
        return PrefixWork(hits=self._hits, tokens=self._found_tokens, evictions=self._evictions)

    def take(self, count: int = 1) -> list[int] | None:
        """Take this many blocks, each with one user; None, and no change, where fewer are free."""
        if count > self.free:
            return None
        while self._pool.free < count:
            block, _ = self._idle.popitem(last=False)
            del self._blocks[self._names.pop(block)]
            self._pool.release([block])
            self._evictions += 1
        return self._pool.take(count)

    def release(self, blocks: Sequence[int]) -> None:
        """Remove a user from each of these blocks, a text's in their order."""
        self._pool.release(blocks)
        for block in reversed(blocks):
            if block in self._names and self._pool.users(block) == 1:
                self._idle[block] = None

    def admit(self, text: Text, count: int) -> bool:
        """Give a text this many blocks, found ones first; False, and no change, where fewer are free."""
        found: list[int] = []
        for name in self.findable_names(text):
            if name not in self._blocks:
                break
            found.append(self._blocks[name])
        self._share(found)
        taken = self.take(count - len(found))
        if taken is None:
            self.release(found)
            return False
        text.blocks = found + taken
        if found:
            self._skip(text, BLOCK * len(found))
        return True

    def find_more(self, text: Text) -> None:
        """Exchange the blocks that a text would compute next for those that others have computed."""
        assert text.blocks is not None  # noqa: S101
        names = self.findable_names(text)
        start = index = text.computed // BLOCK
        while index < len(names) and names[index] in self._blocks:
            self._exchange(text.blocks, index, self._blocks[names[index]])
            index += 1
        if index > start:
            self._skip(text, BLOCK * index)

    def findable_names(self, text: Text) -> list[bytes]:
        """The names of a text's blocks that need not be computed where they are found."""
        return self._named(text, text.findable // BLOCK if self._shares(text) else 0)

    def has(self, name: bytes) -> bool:
        """Whether a block of this name can be found."""
        return name in self._blocks

    def next_name(self, text: Text) -> bytes | None:
        """The name of the block that a text computes next; None if it could not be found."""
        names, index = self.findable_names(text), text.computed // BLOCK
        return names[index] if index < len(names) else None

    def names_until(self, text: Text, end: int) -> list[bytes]:
        """The names of the blocks that a text fills when its tokens before `end` are computed."""
        last = min(end, text.lasting) // BLOCK if self._shares(text) else 0
        return self._named(text, last)[text.computed // BLOCK :]

    def keep(self, text: Text) -> None:
        """Let a text's full blocks be found; where there is one already, the text uses that."""
        if text.blocks is None or not self._shares(text):
            return
        full = index = min(text.computed, text.lasting) // BLOCK
        while index and text.blocks[index - 1] not in self._names:
            index -= 1
        for name in self._named(text, full)[index:]:
            block = text.blocks[index]
            if name in self._blocks:
                self._exchange(text.blocks, index, self._blocks[name])
            else:
                self._blocks[name], self._names[block] = block, name
                self._pool.share([block])
            index += 1

    def _exchange(self, blocks: list[int], index: int, block: int) -> None:
        self._share([block])
        self.release([blocks[index]])
        blocks[index] = block

    def _share(self, blocks: Sequence[int]) -> None:
        self._pool.share(blocks)
        for block in blocks:
            self._idle.pop(block, None)

    def _skip(self, text: Text, tokens: int) -> None:
        self._hits += text.computed < BLOCK
        self._found_tokens += tokens - text.computed
        text.skip_to(tokens)

    def _shares(self, text: Text) -> bool:
        return self._sharing != "off" and text.request.kept

    def _named(self, text: Text, count: int) -> list[bytes]:
        """The names of the first `count` blocks of a text."""
        names = text.block_names
        while len(names) < count:
            before = names[-1] if names else self._root(text.request.owner)
            start = BLOCK * len(names)
            tokens = array("q", text.token_ids[start : start + BLOCK])
            names.append(blake2b(before + tokens.tobytes(), digest_size=_NAME_BYTES).digest())
        return names[:count]

    def _root(self, owner: str) -> bytes:
        """What stands before the first block of a text; an owner is whom the server has identified."""
        salt = owner if self._sharing == "per_key" else ""
        return blake2b(salt.encode(), digest_size=_NAME_BYTES).digest()
