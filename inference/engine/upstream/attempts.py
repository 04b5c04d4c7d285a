"""Running one request at the upstream engine: its attempts, its events and its counts."""

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace

from inference.engine.errors import EngineError, GenerationFailed, Interrupted, Unavailable
from inference.engine.generation import Completion
from inference.engine.request import Chat
from inference.engine.upstream.answers import UNREACHABLE, Failure, failure_in_stream
from inference.engine.upstream.breaker import Breaker, BreakerState
from inference.engine.upstream.client import UpstreamClient, UpstreamFailure
from inference.engine.upstream.config import ATTEMPTS, BETWEEN_ATTEMPTS_S
from inference.engine.upstream.dialect import Dialect
from inference.engine.upstream.events import chunks
from inference.engine.upstream.figures import UpstreamFigures
from inference.engine.upstream.job import Job
from inference.engine.upstream.reader import AnswerReader
from inference.engine.upstream.tokens import UpstreamTokens

logger = logging.getLogger(__name__)

_COUNTED_WITHIN_S = 2.0
BROKEN_OFF = "The engine behind this service broke off before the text was complete."


class Attempts:
    """Runs requests, in up to `ATTEMPTS` attempts each: another one only while the client has nothing."""

    def __init__(
        self,
        client: UpstreamClient,
        tokens: UpstreamTokens,
        breaker: Breaker,
        dialect: Dialect,
        figures: UpstreamFigures,
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._breaker = breaker
        self._dialect = dialect
        self._figures = figures

    async def run(self, job: Job) -> Completion:
        """Publish the events of the text; returns it when it is complete.

        Raises:
            EngineError: how it failed.
        """
        for attempt in range(ATTEMPTS):
            if self._breaker.state is not BreakerState.CLOSED:
                raise Unavailable(self._breaker.reason or UNREACHABLE)
            if attempt:
                self._figures.retried()
            began_at = time.monotonic()
            try:
                reader = await self._attempt(job)
            except UpstreamFailure as error:
                failure, cause = error.failure, error
            else:
                self._breaker.succeeded()
                self._figures.answered()
                return await self._finished(job, reader)
            self._figures.failed(failure)
            self.judge(failure, began_at=began_at)
            if not failure.again or (job.published and job.prepared.request.streamed):
                break
            logger.warning("An attempt at the upstream engine failed (%s).", cause.__cause__ or cause)
            if attempt + 1 < ATTEMPTS:
                job.begin_again()
                await asyncio.sleep(BETWEEN_ATTEMPTS_S * 2**attempt)
        if job.published and isinstance(failure.error, Unavailable):
            raise Interrupted(BROKEN_OFF) from cause
        raise failure.error from cause

    def judge(self, failure: Failure, *, began_at: float) -> None:
        """Tell the breaker of an attempt that began at this time."""
        if failure.broken or failure.misconfigured:
            if self._breaker.failed(str(failure.error), began_at=began_at, at_once=failure.misconfigured):
                logger.error("No request is sent to the upstream engine for now: %s", failure.error)
        else:
            self._breaker.succeeded()  # it has answered

    async def count_unfinished(self, job: Job) -> None:
        """Count what a request that ends early has used."""
        reader, generation = job.reader, job.generation
        if reader is None or not job.published:
            return
        used = max(generation.completion_tokens, reader.completion_tokens)
        if not reader.exact:
            used = await self._counted(reader) or used
        generation.recount(prompt_tokens=self._prompt_tokens(job, reader), completion_tokens=used)

    async def _attempt(self, job: Job) -> AnswerReader:
        request = job.prepared.request
        job.reader = reader = AnswerReader(self._dialect, chat=isinstance(request.prompt, Chat))
        complete = False
        began_at = time.monotonic()
        async with self._client.stream(f"v1/{job.call.path}", job.call.body, headers=job.headers) as pieces:
            self._figures.first_byte(time.monotonic() - began_at)
            try:
                async for chunk in chunks(pieces):
                    if chunk is None:
                        complete = True
                    elif chunk.get("error"):
                        raise UpstreamFailure(failure_in_stream(chunk["error"]))
                    else:
                        self._publish(job, reader, chunk)
            except GenerationFailed as error:
                raise UpstreamFailure(Failure(error, broken=True)) from error
        if not complete and reader.finish_reason is None:
            raise UpstreamFailure(Failure(Unavailable(UNREACHABLE), again=True, broken=True))
        return reader

    def _publish(self, job: Job, reader: AnswerReader, chunk: object) -> None:
        event = reader.feed(chunk)  # type: ignore[arg-type]
        if event is None:
            return
        generation = job.generation
        job.published = True
        # Before the event, whose reader may look at the count.
        generation.recount(
            prompt_tokens=self._prompt_tokens(job, reader), completion_tokens=generation.completion_tokens
        )
        generation.publish(event, now=time.monotonic())

    async def _finished(self, job: Job, reader: AnswerReader) -> Completion:
        generation = job.generation
        if not reader.exact:
            reader.completion_tokens = await self._counted(reader) or reader.completion_tokens
        prompt_tokens = self._prompt_tokens(job, reader)
        more = reader.completion_tokens - generation.completion_tokens
        generation.recount(
            prompt_tokens=prompt_tokens, completion_tokens=generation.completion_tokens + min(0, more)
        )
        last = replace(reader.last_event(), unnamed_tokens=max(0, more))
        generation.publish(last, now=time.monotonic())
        return reader.completion(prompt_tokens=prompt_tokens)

    async def _counted(self, reader: AnswerReader) -> int | None:
        """The tokens of the text by the engine's tokenizer; None if it cannot tell."""
        with suppress(EngineError, UpstreamFailure, TimeoutError):
            async with asyncio.timeout(_COUNTED_WITHIN_S):
                return await self._tokens.count_text(reader.text)
        return None

    def _prompt_tokens(self, job: Job, reader: AnswerReader) -> int:
        return job.prepared.prompt_tokens if reader.prompt_tokens is None else reader.prompt_tokens
