"""Which requests run and which wait, and what the next step computes; fair between owners, and bounded.

Not thread-safe: the engine calls it under its lock. It knows neither the model nor torch.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import ceil
from typing import Generic, Protocol, TypeVar

from inference.engine.blocks import BLOCK, BlockPool, blocks_of
from inference.engine.config import EngineConfig
from inference.engine.errors import EngineError, Overloaded
from inference.engine.fair_queue import LONGEST_RETRY_S, FairQueue
from inference.engine.forecast import Expected, Forecast
from inference.engine.load import Load, OwnerLoad
from inference.engine.prefix_cache import PrefixCache
from inference.engine.segment import Segment
from inference.engine.speculation import drafts_for_each

_PROMPT_LOGITS = 64
"""Prompt tokens of a step after which logits are asked for. Each row takes 4 bytes for every token of the
vocabulary: 0.6 MB with 150,000."""
_FEW = 4
"""Rows of texts are few up to this fraction, one fourth, of `prefill_tokens_shared`."""
_FORECAST_EVERY_S = 1.0


class Schedulable(Expected, Protocol):
    """What the scheduler needs of a sequence."""

    finished: bool

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
        self._forecast = Forecast(config, self.prefixes)
        self._forecast_at = 0.0
        self._step: list[Segment] = []
        self._lengths: list[tuple[S, int]] = []
        self._step_began_at = 0.0

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

    def check_room(self, owner: str, *, count: int) -> None:
        """Raises Overloaded: the queue has no places for so many requests of the owner."""
        self._queue.check_room(owner, count=count)

    def add(self, sequences: Sequence[S], *, now: float) -> None:
        """Put requests of one owner in the queue, all of them.

        Requests that the next step can admit do not count as waiting.

        Raises:
            Overloaded: the queue is full, and no owner has more waiting than this one would have; or a text
                would not be complete in time. None gets in, and nobody gives way.
        """
        # The forecast takes about a millisecond, and a full queue refuses most.
        if self._queue.room >= len(sequences):
            for late, late_s in self._forecast.late(self._order(*sequences), now=now):
                if late in sequences:
                    raise _come_later(late_s)
        for dropped in self._queue.add(sequences, owner=sequences[0].request.owner):
            dropped.fail(Overloaded(retry_after_s=self._queue.retry_after_s()), now=now)

    def admit(self, *, now: float) -> None:
        """Move waiting requests to the running set, as far as its size and the KV cache allow.

        A request needs the blocks of its tokens so far and one more. If that many are not free, it waits for
        them, and no other overtakes it.
        """
        if now >= self._forecast_at:
            self._forecast_at = now + _FORECAST_EVERY_S
            self._end_late(now=now)
        self._step_began_at = now
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
        self._lengths = [(sequence, sequence.length) for sequence in generating]
        drafts = drafts_for_each(len(generating))
        for sequence in generating:
            self._make_room(sequence, drafts)
        plan = [(s, s.next_segment(1, drafts=drafts)) for s in generating]
        left = self._prompt_tokens_beside(sum(len(segment.token_ids) for _, segment in plan))
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
        self._step = [segment for _, segment in plan]
        return plan

    def retire(self, *, now: float) -> None:
        """Let what has been computed be found, and take finished requests out of the running set."""
        if self._step:
            gained = [sequence.length - length for sequence, length in self._lengths]
            self._forecast.computed(self._step, gained=gained, seconds=now - self._step_began_at, now=now)
            self._step = []
        for sequence in self.running:
            self.prefixes.keep(sequence)
        for sequence in [sequence for sequence in self.running if sequence.finished]:
            self.running.remove(sequence)
            self._forecast.ended(sequence)
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

    def _order(self, *new: S) -> Iterator[S]:
        """All requests in the order in which they are likely to be computed."""
        yield from sorted(self.running, key=lambda sequence: sequence.prefilling)
        before = Counter({owner: one.running for owner, one in self._queue.owners.items()})
        waiting = []
        for sequence in [*self._preempted, *self._queue.waiting, *new]:
            owner = sequence.request.owner
            waiting.append((before[owner], sequence.generation.submitted_at, sequence))
            before[owner] += 1
        yield from (sequence for *_, sequence in sorted(waiting, key=lambda entry: entry[:2]))

    def _end_late(self, *, now: float) -> None:
        """End those of which nothing is computed and that would miss their deadlines."""
        for sequence, late_s in list(self._forecast.late(self._order(), now=now)):
            sequence.fail(_come_later(late_s), now=now)
        self.retire(now=now)
        self.drop_finished()

    def _prompt_tokens_beside(self, rows: int) -> int:
        """The most prompt tokens of a step that computes this many rows of texts.

        A few rows count among those tokens. The widest kernels take up to 16 rows at once; a row more takes
        much longer than each of those: a prompt is computed sooner in more steps that are shorter.
        """
        if not rows:
            return self._config.prefill_tokens
        shared = self._config.prefill_tokens_shared
        return shared - rows if rows <= shared // _FEW else shared

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


def _come_later(late_s: float) -> Overloaded:
    return Overloaded(retry_after_s=min(LONGEST_RETRY_S, ceil(late_s)))
