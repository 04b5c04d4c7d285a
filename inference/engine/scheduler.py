"""Which requests run and which wait, and what the next step computes; fair between owners, and bounded.

Not thread-safe: the engine calls it under its lock. It knows neither the model nor torch.
"""

from collections import Counter, deque
from math import ceil
from typing import Generic, Protocol, TypeVar

from inference.engine.blocks import BLOCK, BlockPool
from inference.engine.config import EngineConfig
from inference.engine.errors import EngineError, Overloaded
from inference.engine.generation import Generation
from inference.engine.load import Load, OwnerLoad
from inference.engine.request import GenerationRequest
from inference.engine.segment import Segment

_LONGEST_RETRY_S = 60
_PROMPT_LOGITS = 64
"""Prompt tokens of a step after which logits are asked for. Each row takes 4 bytes for every token of the
vocabulary: 0.6 MB with 150,000."""


class Schedulable(Protocol):
    """What the scheduler needs of a sequence."""

    blocks: list[int] | None
    finished: bool

    @property
    def request(self) -> GenerationRequest: ...

    @property
    def generation(self) -> Generation: ...

    @property
    def needed_blocks(self) -> int: ...

    @property
    def prefilling(self) -> bool: ...

    @property
    def scores_prompt(self) -> bool: ...

    def next_segment(self, most: int) -> Segment: ...

    def fail(self, error: EngineError, *, now: float) -> None: ...


S = TypeVar("S", bound=Schedulable)


class Scheduler(Generic[S]):
    """The queue and the running set.

    The next request admitted is from the owner with the fewest running; within an owner, and between equals,
    the first submitted is the first admitted. When the queue is full, a request of an owner with fewer
    waiting replaces the newest one of the owner with the most waiting (longest queue drop, Suter et al.,
    1998), so one owner cannot fill the queue against the others.
    """

    def __init__(self, config: EngineConfig, blocks: BlockPool) -> None:
        self.running: list[S] = []
        self._config = config
        self._blocks = blocks
        self._waiting: dict[str, deque[S]] = {}
        self._mean_service_s = 1.0

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def load(self) -> Load:
        """How much runs and waits now."""
        running = Counter(sequence.request.owner for sequence in self.running)
        queued = {owner: len(queue) for owner, queue in self._waiting.items()}
        return Load(
            queued=self.queued,
            running=len(self.running),
            kv_tokens=BLOCK * self._blocks.count,
            kv_tokens_used=BLOCK * (self._blocks.count - self._blocks.free),
            owners={
                owner: OwnerLoad(queued=queued.get(owner, 0), running=running[owner])
                for owner in running.keys() | queued.keys()
            },
        )

    def add(self, sequence: S, *, now: float) -> None:
        """Put a request in the queue.

        Requests that the next step can admit do not count as waiting.

        Raises:
            Overloaded: the queue is full, and no owner has more waiting than this one would have.
        """
        owner = sequence.request.owner
        own = len(self._waiting.get(owner, ()))
        free = self._config.max_running - len(self.running)
        if self.queued >= self._config.max_queued + free:
            longest = max(self._waiting, key=lambda name: len(self._waiting[name]), default=owner)
            if len(self._waiting.get(longest, ())) <= own + 1:
                raise Overloaded(retry_after_s=self.retry_after_s())
            self._pop(longest, newest=True).fail(Overloaded(retry_after_s=self.retry_after_s()), now=now)
        self._waiting.setdefault(owner, deque()).append(sequence)

    def admit(self, *, now: float) -> None:
        """Move waiting requests to the running set, as far as its size and the KV cache allow.

        If the next request needs more blocks than are free, it waits for them, and no other overtakes it.
        """
        while self._waiting and len(self.running) < self._config.max_running:
            load = Counter(sequence.request.owner for sequence in self.running)
            owner = min(
                self._waiting, key=lambda name: (load[name], self._waiting[name][0].generation.submitted_at)
            )
            sequence = self._waiting[owner][0]
            sequence.blocks = self._blocks.take(sequence.needed_blocks)
            if sequence.blocks is None:
                return
            sequence.generation.start(now=now)
            self.running.append(self._pop(owner))

    def plan(self) -> list[tuple[S, Segment]]:
        """The next step: a token of each running sequence, and a bounded number of prompt tokens.

        The number of prompt tokens whose logits are asked for is bounded further.
        """
        plan = [(s, s.next_segment(1)) for s in self.running if not s.prefilling]
        left = self._config.prefill_tokens_shared if plan else self._config.prefill_tokens
        logits_left = _PROMPT_LOGITS
        for sequence in self.running:
            scored = sequence.scores_prompt
            most = min(left, logits_left) if scored else left
            if sequence.prefilling and most > 0:
                segment = sequence.next_segment(most)
                left -= len(segment.token_ids)
                logits_left -= segment.logits if scored else 0
                plan.append((sequence, segment))
        return plan

    def retire(self, *, now: float) -> None:
        """Take finished requests out of the running set, and release their blocks."""
        for sequence in [sequence for sequence in self.running if sequence.finished]:
            self.running.remove(sequence)
            if sequence.blocks is not None:
                self._blocks.release(sequence.blocks)
            if (started_at := sequence.generation.started_at) is not None:
                self._mean_service_s += (now - started_at - self._mean_service_s) / 8

    def all(self) -> list[S]:
        """Every request that has not ended, running or waiting."""
        return [*self.running, *(sequence for queue in self._waiting.values() for sequence in queue)]

    def drop_finished(self) -> None:
        """Take requests that ended while they waited out of the queue."""
        for owner, queue in list(self._waiting.items()):
            left = deque(sequence for sequence in queue if not sequence.finished)
            if left:
                self._waiting[owner] = left
            else:
                del self._waiting[owner]

    def retry_after_s(self) -> int:
        """In how many whole seconds the requests of now are likely to have ended."""
        rounds = (self.queued + len(self.running)) / self._config.max_running
        return min(_LONGEST_RETRY_S, max(1, ceil(rounds * self._mean_service_s)))

    def _pop(self, owner: str, *, newest: bool = False) -> S:
        queue = self._waiting[owner]
        sequence = queue.pop() if newest else queue.popleft()
        if not queue:
            del self._waiting[owner]
        return sequence
