"""Which requests run and which wait, and what the next step computes; fair between owners, and bounded.

Not thread-safe: the engine calls it under its lock. It knows neither the model nor torch.
"""

from bisect import insort
from collections import Counter
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from inference.engine.blocks import BLOCK, BlockPool, blocks_of
from inference.engine.config import EngineConfig
from inference.engine.errors import EngineError, Overloaded
from inference.engine.fair_queue import FairQueue
from inference.engine.generation import Generation
from inference.engine.load import Load, OwnerLoad
from inference.engine.prefix_cache import PrefixCache, Text
from inference.engine.segment import Segment
from inference.engine.speculation import drafts_for_each

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

    Who is next, and who gives way when the queue is full, is `FairQueue`'s to decide.

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
        self._queue: FairQueue[S] = FairQueue(max_running=config.max_running, max_queued=config.max_queued)
        self._preempted: list[S] = []

    @property
    def load(self) -> Load:
        """How much runs and waits now."""
        preempted = Counter(sequence.request.owner for sequence in self._preempted)
        owners = {owner: OwnerLoad(queued=0, running=0) for owner in preempted} | self._queue.owners
        return Load(
            queued=self._queue.queued + len(self._preempted),
            preempted=len(self._preempted),
            running=len(self.running),
            kv_tokens=BLOCK * self.prefixes.count,
            kv_tokens_used=BLOCK * (self.prefixes.count - self.prefixes.free),
            owners={
                owner: replace(one, queued=one.queued + preempted[owner]) for owner, one in owners.items()
            },
        )

    def add(self, sequence: S, *, now: float) -> None:
        """Put a request in the queue.

        Requests that the next step can admit do not count as waiting.

        Raises:
            Overloaded: the queue is full, and no owner has more waiting than this one would have.
        """
        dropped = self._queue.add(sequence, owner=sequence.request.owner)
        if dropped is not None:
            dropped.fail(Overloaded(retry_after_s=self._queue.retry_after_s()), now=now)

    def admit(self, *, now: float) -> None:
        """Move waiting requests to the running set, as far as its size and the KV cache allow.

        A request needs the blocks of its tokens so far and one more. If that many are not free, it waits for
        them, and no other overtakes it.
        """
        while len(self.running) < self._config.max_running:
            # Of each owner, those preempted come first.
            first = self._queue.first
            first |= {sequence.request.owner: sequence for sequence in reversed(self._preempted)}
            if not first:
                return
            owner = min(
                first, key=lambda name: (self._queue.running_of(name), first[name].generation.submitted_at)
            )
            sequence = first[owner]
            needed = min(blocks_of(sequence.length) + 1, blocks_of(sequence.most_tokens))
            if not self.prefixes.admit(sequence, needed):
                return
            if sequence in self._preempted:
                self._preempted.remove(sequence)
                self._queue.resume(owner)
            else:
                self._queue.take_from(owner)
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
            started_at = sequence.generation.started_at
            assert started_at is not None  # noqa: S101
            self._queue.leave(owner=sequence.request.owner, service_s=now - started_at)

    def all(self) -> list[S]:
        """Every request that has not ended, running or waiting."""
        return [*self.running, *self._preempted, *self._queue.waiting]

    def drop_finished(self) -> None:
        """Take requests that ended while they waited out of the queue."""
        self._preempted = [sequence for sequence in self._preempted if not sequence.finished]
        for sequence in [sequence for sequence in self._queue.waiting if sequence.finished]:
            self._queue.remove(sequence, owner=sequence.request.owner)

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
        newest = max(
            self.running, key=lambda s: (self._queue.running_of(s.request.owner), s.generation.submitted_at)
        )
        self.running.remove(newest)
        assert newest.blocks is not None  # noqa: S101
        self.prefixes.release(newest.blocks)
        newest.preempt()
        insort(self._preempted, newest, key=lambda sequence: sequence.generation.submitted_at)
        self._queue.pause(newest.request.owner)
        self.preemptions += 1
