"""Who runs and who waits: fair between owners, bounded in number and in KV cache.

Not thread-safe: the engine calls it under its lock.
"""

from collections import Counter, deque
from dataclasses import dataclass
from math import ceil

from inference.engine.config import EngineConfig
from inference.engine.errors import Overloaded
from inference.engine.sequence import Sequence
from inference.engine.slots import SlotPool

_LONGEST_RETRY_S = 60


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is in at a moment: requests, and places of the KV cache, in tokens."""

    queued: int
    running: int
    kv_tokens: int
    kv_tokens_used: int


class Scheduler:
    """The queue and the running set.

    The next one admitted is from the owner with the fewest running, first come first served within an owner
    and between equals. A full queue makes room for an owner who waits for less at the cost of the one who
    waits for most (longest queue drop, Suter et al., 1998), so one owner cannot fill it against the others.
    """

    def __init__(self, config: EngineConfig, slots: SlotPool) -> None:
        self.running: list[Sequence] = []
        self._config = config
        self._slots = slots
        self._waiting: dict[str, deque[Sequence]] = {}
        self._mean_service_s = 1.0

    @property
    def queued(self) -> int:
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def load(self) -> Load:
        tokens = self._slots.size
        return Load(
            queued=self.queued,
            running=len(self.running),
            kv_tokens=tokens,
            kv_tokens_used=tokens - self._slots.free,
        )

    def add(self, sequence: Sequence) -> None:
        """Put a request in the queue.

        Those for whom there is a free place do not count as waiting: the next step takes them.

        Raises:
            Overloaded: the queue is full, and no owner waits for more than this one would.
        """
        owner = sequence.request.owner
        own = len(self._waiting.get(owner, ()))
        free = self._config.max_running - len(self.running)
        if self.queued >= self._config.max_queued + free:
            longest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=owner)
            if len(self._waiting.get(longest, ())) <= own + 1:
                raise Overloaded(retry_after_s=self.retry_after_s())
            self._pop(longest, newest=True).fail(Overloaded(retry_after_s=self.retry_after_s()))
        self._waiting.setdefault(owner, deque()).append(sequence)

    def admit(self, *, now: float) -> None:
        """Move waiting requests to the running set, as far as its size and the KV cache allow.

        The one whose turn it is waits for the places that it needs; none overtakes it.
        """
        while self._waiting and len(self.running) < self._config.max_running:
            load = Counter(sequence.request.owner for sequence in self.running)
            owner = min(self._waiting, key=lambda name: (load[name], self._waiting[name][0].submitted_at))
            sequence = self._waiting[owner][0]
            sequence.slots = self._slots.allocate(sequence.needed_tokens)
            if sequence.slots is None:
                return
            sequence.started_at = now
            self.running.append(self._pop(owner))

    def retire(self, *, now: float) -> None:
        """Take the finished ones out of the running set and free their places."""
        for sequence in [sequence for sequence in self.running if sequence.finished]:
            self.running.remove(sequence)
            if sequence.slots is not None:
                self._slots.release(sequence.slots)
            if sequence.started_at is not None:
                self._mean_service_s += (now - sequence.started_at - self._mean_service_s) / 8

    def all(self) -> list[Sequence]:
        """Every request that has not ended, running or waiting."""
        return [*self.running, *(sequence for queue in self._waiting.values() for sequence in queue)]

    def drop_finished(self) -> None:
        """Take out of the queue what ended there."""
        for owner, queue in list(self._waiting.items()):
            left = deque(sequence for sequence in queue if not sequence.finished)
            if left:
                self._waiting[owner] = left
            else:
                del self._waiting[owner]

    def retry_after_s(self) -> int:
        """When a place may be free again: the time in which those before it are done, in whole seconds."""
        rounds = (self.queued + len(self.running)) / self._config.max_running
        return min(_LONGEST_RETRY_S, max(1, ceil(rounds * self._mean_service_s)))

    def _pop(self, owner: str, *, newest: bool = False) -> Sequence:
        queue = self._waiting[owner]
        sequence = queue.pop() if newest else queue.popleft()
        if not queue:
            del self._waiting[owner]
        return sequence
