"""Which requests run and which wait, and what the next step computes; fair between owners, and bounded.

Not thread-safe: the engine calls it under its lock. It knows neither the model nor torch.
"""

from bisect import insort
from collections import Counter, deque
from math import ceil
from typing import Generic, Protocol, TypeVar

from inference.engine.blocks import BLOCK, BlockPool, blocks_of
from inference.engine.config import EngineConfig
from inference.engine.errors import EngineError, Overloaded
from inference.engine.generation import Generation
from inference.engine.load import Load, OwnerLoad
from inference.engine.prefix_cache import PrefixCache, Text
from inference.engine.segment import Segment
from inference.engine.speculation import drafts_for_each

_LONGEST_RETRY_S = 60
_PROMPT_LOGITS = 64
"""Prompt tokens of a step after which logits are asked for. Each row takes 4 bytes for every token of the
vocabulary: 0.6 MB with 150,000."""


class Schedulable(Text, Protocol):
    """What the scheduler needs of a sequence."""

    finished: bool

    @property
    def generation(self) -> Generation: ...

    @property
    def length(self) -> int: ...

    @property
    def most_tokens(self) -> int: ...

    @property
    def prefilling(self) -> bool: ...

    @property
    def scores_prompt(self) -> bool: ...

    def next_segment(self, most: int, *, drafts: int = 0) -> Segment: ...

    def preempt(self) -> None: ...

    def fail(self, error: EngineError, *, now: float) -> None: ...


S = TypeVar("S", bound=Schedulable)


class Scheduler(Generic[S]):
    """The queue and the running set.

    The next request admitted is from the owner with the fewest running; within an owner, and between equals,
    the first submitted is the first admitted. When the queue is full, a request of an owner with fewer
    waiting replaces the newest one of the owner with the most waiting (longest queue drop, Suter et al.,
    1998), so one owner cannot fill the queue against the others.

    A sequence takes blocks of the KV cache as its text grows. Where none is free, the newest sequence of the
    owner with the most running is preempted: its blocks are released, and it is computed again later. The
    oldest sequence is never preempted, so one always ends, and then another.

    Attributes:
        prefixes: the blocks of the KV cache, and what is found in them.
        running: in the order in which they were admitted.
        preemptions: since the start.
    """

    def __init__(self, config: EngineConfig, blocks: BlockPool) -> None:
        self.prefixes = PrefixCache(blocks, config.prefix_cache)
        self.running: list[S] = []
        self.preemptions = 0
        self._config = config
        self._waiting: dict[str, deque[S]] = {}
        self._preempted: list[S] = []
        self._mean_service_s = 1.0

    @property
    def queued(self) -> int:
        """How many requests wait that have never run; their number is bounded."""
        return sum(len(queue) for queue in self._waiting.values())

    @property
    def load(self) -> Load:
        """How much runs and waits now."""
        running = Counter(sequence.request.owner for sequence in self.running)
        queued = Counter(sequence.request.owner for sequence in self._preempted)
        queued.update({owner: len(queue) for owner, queue in self._waiting.items()})
        return Load(
            queued=queued.total(),
            preempted=len(self._preempted),
            running=len(self.running),
            kv_tokens=BLOCK * self.prefixes.count,
            kv_tokens_used=BLOCK * (self.prefixes.count - self.prefixes.free),
            owners={
                owner: OwnerLoad(queued=queued[owner], running=running[owner])
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

        A request needs the blocks of its tokens so far and one more. If so many are not free, it waits for
        them, and no other overtakes it.
        """
        while len(self.running) < self._config.max_running:
            first = self._first_of_each_owner()
            if not first:
                return
            load = Counter(sequence.request.owner for sequence in self.running)
            owner = min(first, key=lambda name: (load[name], first[name].generation.submitted_at))
            sequence = first[owner]
            needed = min(blocks_of(sequence.length) + 1, blocks_of(sequence.most_tokens))
            if not self.prefixes.admit(sequence, needed):
                return
            if sequence in self._preempted:
                self._preempted.remove(sequence)
            else:
                self._pop(owner)
                sequence.generation.start(now=now)
            self.running.append(sequence)

    def plan(self) -> list[tuple[S, Segment]]:
        """The next step: what each running sequence has added, and a bounded number of prompt tokens.

        Each of a few sequences may also have guesses of what follows computed, but preempts none for them.

        The number of prompt tokens whose logits are asked for is bounded further. Sequences for which there
        are no blocks are preempted. One whose next block another fills in this step waits for it.
        """
        self._grow()
        generating = [sequence for sequence in self.running if not sequence.prefilling]
        drafts = drafts_for_each(len(generating))
        for sequence in generating:
            self._make_room(sequence, drafts)
        plan = [(s, s.next_segment(1, drafts=drafts)) for s in generating]
        left = self._config.prefill_tokens_shared if plan else self._config.prefill_tokens
        logits_left = _PROMPT_LOGITS
        filled: set[bytes] = set()
        for sequence in self.running:
            scored = sequence.scores_prompt
            most = min(left, logits_left) if scored else left
            if sequence.prefilling and most > 0:
                self.prefixes.find_more(sequence)
                if self.prefixes.next_name(sequence) in filled:
                    continue
                segment = sequence.next_segment(most)
                filled.update(self.prefixes.names_until(sequence, end=segment.start + len(segment.token_ids)))
                left -= len(segment.token_ids)
                logits_left -= segment.logits if scored else 0
                plan.append((sequence, segment))
        return plan

    def retire(self, *, now: float) -> None:
        """Let what has been computed be found, and take finished requests out of the running set."""
        for sequence in self.running:
            self.prefixes.keep(sequence)
        for sequence in [sequence for sequence in self.running if sequence.finished]:
            self.running.remove(sequence)
            if sequence.blocks is not None:
                self.prefixes.release(sequence.blocks)
            if (started_at := sequence.generation.started_at) is not None:
                self._mean_service_s += (now - started_at - self._mean_service_s) / 8

    def all(self) -> list[S]:
        """Every request that has not ended, running or waiting."""
        waiting = (sequence for queue in self._waiting.values() for sequence in queue)
        return [*self.running, *self._preempted, *waiting]

    def drop_finished(self) -> None:
        """Take requests that ended while they waited out of the queue."""
        self._preempted = [sequence for sequence in self._preempted if not sequence.finished]
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

    def _first_of_each_owner(self) -> dict[str, S]:
        """The request of each owner that is admitted next: those preempted come first."""
        first = {owner: queue[0] for owner, queue in self._waiting.items()}
        return first | {sequence.request.owner: sequence for sequence in reversed(self._preempted)}

    def _grow(self) -> None:
        """Give every running sequence the blocks that its tokens fill, as far as there are any."""
        for sequence in list(self.running):
            while sequence.blocks is not None and len(sequence.blocks) < blocks_of(sequence.length):
                if taken := self.prefixes.take():
                    sequence.blocks += taken
                else:
                    self._preempt()

    def _make_room(self, sequence: S, drafts: int) -> None:
        """Give it a block that guesses would reach into, if one is free; it would take that one soon."""
        reached = min(sequence.length + drafts, sequence.most_tokens)
        if sequence.blocks is not None and len(sequence.blocks) < blocks_of(reached):
            sequence.blocks += self.prefixes.take() or []

    def _preempt(self) -> None:
        load = Counter(sequence.request.owner for sequence in self.running)
        newest = max(self.running, key=lambda s: (load[s.request.owner], s.generation.submitted_at))
        self.running.remove(newest)
        assert newest.blocks is not None  # noqa: S101
        self.prefixes.release(newest.blocks)
        newest.preempt()
        insort(self._preempted, newest, key=lambda sequence: sequence.generation.submitted_at)
        self.preemptions += 1

    def _pop(self, owner: str, *, newest: bool = False) -> S:
        queue = self._waiting[owner]
        sequence = queue.pop() if newest else queue.popleft()
        if not queue:
            del self._waiting[owner]
        return sequence
