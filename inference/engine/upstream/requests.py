"""The requests at the upstream engine and those that wait for a place there, and the probe of the engine."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Sequence

from inference.engine.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineError,
    GenerationFailed,
    Interrupted,
    Overloaded,
    Unavailable,
)
from inference.engine.fair_queue import FairQueue
from inference.engine.generation import Completion, Generation
from inference.engine.load import Load
from inference.engine.upstream.answers import Failure
from inference.engine.upstream.attempts import Attempts
from inference.engine.upstream.breaker import Breaker, BreakerState
from inference.engine.upstream.client import UpstreamFailure
from inference.engine.upstream.config import UpstreamConfig
from inference.engine.upstream.job import Job, UpstreamGeneration

logger = logging.getLogger(__name__)

NOT_ASKED = "The engine behind this service could not be asked."

_PROBE_S = 10.0
_ENDED_WITHIN_S = 5.0


class UpstreamRequests:
    """Runs jobs in the event loop, at most `max_running` at once.

    `submit`, `close` and the figures may be used from any thread, all else in the loop's.

    Args:
        probe: asks the engine for something cheap.
    """

    def __init__(
        self,
        config: UpstreamConfig,
        attempts: Attempts,
        breaker: Breaker,
        *,
        loop: asyncio.AbstractEventLoop,
        probe: Callable[[], Awaitable[object]],
    ) -> None:
        self._attempts = attempts
        self._breaker = breaker
        self._loop = loop
        self._ask = probe
        self._lock = threading.Lock()
        self._queue: FairQueue[Job] = FairQueue(max_running=config.max_running, max_queued=config.max_queued)
        self._closed: str | None = None
        self._jobs: set[Job] = set()
        self._ended_tokens = 0
        self._probing: asyncio.Task[None] | None = None

    @property
    def load(self) -> Load:
        """How much runs and waits; the KV cache is the engine's."""
        with self._lock:
            queue = self._queue
            return Load(
                queued=queue.queued,
                preempted=0,
                running=queue.running,
                kv_tokens=0,
                kv_tokens_used=0,
                owners=queue.owners,
            )

    @property
    def completion_tokens(self) -> int:
        """All that have come since the start."""
        with self._lock:
            return self._ended_tokens + sum(job.generation.completion_tokens for job in self._jobs)

    def check_room(self, owner: str, *, count: int) -> None:
        """Raises Overloaded or Unavailable: so many jobs of the owner would be refused now."""
        with self._lock:
            self._check_open()
            self._queue.check_room(owner, count=count)

    def submit(self, jobs: Sequence[Job]) -> list[Generation]:
        """Start the jobs, all of one owner, or let them wait.

        Raises:
            Overloaded, Unavailable: not all of them can. None does then.
        """
        for job in jobs:
            self._prepare(job)
        with self._lock:
            self._check_open()
            dropped = self._queue.add(jobs, owner=jobs[0].owner)
            lost = Overloaded(retry_after_s=self._queue.retry_after_s())
            self._jobs.update(jobs)
        for job in jobs:
            self._soon(self._begin, job)
        for job in dropped:
            self._soon(job.drop, lost)
        return [job.generation for job in jobs]

    def close(self, reason: str) -> None:
        """Accept no more."""
        with self._lock:
            self._closed = self._closed or reason

    async def stop(self, reason: str) -> None:
        """End all that has not ended."""
        with self._lock:
            self._closed = reason
            jobs = list(self._jobs)
        tasks = [task for task in (self._probing, *(job.task for job in jobs)) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_ENDED_WITHIN_S)
        for job in jobs:
            job.generation.finish(Interrupted(reason), now=time.monotonic())

    def judge(self, failure: Failure, *, began_at: float) -> None:
        """Count a failed call for the breaker, and begin to probe where that opens it."""
        self._attempts.judge(failure, began_at=began_at)
        self._probe_if_open()

    def _prepare(self, job: Job) -> None:
        job.admitted = self._loop.create_future()
        job.generation = UpstreamGeneration(
            job.prepared,
            submitted_at=time.monotonic(),
            on_cancel=lambda: self._soon(self._cancel, job),
        )

    def _check_open(self) -> None:
        if self._closed is not None:
            raise Unavailable(self._closed)

    def _soon(self, function: Callable[..., object], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)

    def _begin(self, job: Job) -> None:
        job.task = self._loop.create_task(self._serve(job))
        job.task.add_done_callback(lambda task: self._end(job, task))
        self._admit()

    def _cancel(self, job: Job) -> None:
        if job.task is not None:
            job.task.cancel()

    def _admit(self) -> None:
        with self._lock:
            while (job := self._queue.take()) is not None:
                job.admit()

    async def _serve(self, job: Job) -> Completion:
        try:
            async with asyncio.timeout(job.prepared.request.timeout_s):
                await job.admitted
                job.generation.start(now=time.monotonic())
                return await self._attempts.run(job)
        except BaseException:
            await self._attempts.count_unfinished(job)
            raise

    def _end(self, job: Job, task: "asyncio.Task[Completion]") -> None:
        outcome = self._outcome(job, task)
        now = time.monotonic()
        with self._lock:
            if job.admitted_at is None:
                self._queue.remove(job, owner=job.owner)
            else:
                self._queue.leave(owner=job.owner, service_s=now - job.admitted_at)
            self._jobs.discard(job)
            self._ended_tokens += job.generation.completion_tokens
        job.generation.finish(outcome, now=now)
        self._probe_if_open()
        self._admit()

    def _outcome(self, job: Job, task: "asyncio.Task[Completion]") -> Completion | EngineError:
        if task.cancelled():
            return Cancelled() if job.generation.cancelled else Interrupted(self._closed or "")
        match task.exception():
            case None:
                return task.result()
            case EngineError() as error:
                return error
            case TimeoutError():
                return DeadlineExceeded()
            case error:
                logger.error("A request at the upstream engine failed.", exc_info=error)
                return GenerationFailed("The request to the engine behind this service failed.")

    def _probe_if_open(self) -> None:
        idle = self._probing is None or self._probing.done()
        if idle and self._breaker.state is not BreakerState.CLOSED and self._closed is None:
            self._probing = self._loop.create_task(self._probe())

    async def _probe(self) -> None:
        """Ask the engine after each pause, until it answers."""
        while self._breaker.state is not BreakerState.CLOSED:
            await asyncio.sleep(self._breaker.probe_in_s)
            if not self._breaker.begin_probe():
                continue
            try:
                async with asyncio.timeout(_PROBE_S):
                    await self._ask()
            except (EngineError, UpstreamFailure, TimeoutError) as error:
                self._breaker.failed(str(error) or "The engine behind this service does not answer.")
            except Exception:
                # Nobody else would ask again: no request passes meanwhile.
                logger.exception("The probe of the upstream engine failed.")
                self._breaker.failed(NOT_ASKED)
            except BaseException:
                self._breaker.failed(NOT_ASKED)
                raise
            else:
                self._breaker.succeeded()
                logger.info("The upstream engine answers again.")
