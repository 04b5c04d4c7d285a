"""Generations within the limits of the key that asked for them, accounted for however they end."""

import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from django.conf import settings

from accounts.limits import endpoint
from accounts.limits.admission import Admission, admit
from accounts.limits.policy import Limits
from accounts.limits.settler import settle
from accounts.models import APIKey, Outcome, Prompts
from inference import generation_spans
from inference.engine.backend import Backend
from inference.engine.errors import EngineError
from inference.engine.generation import Completion, Event, Generation, merged_events
from inference.engine.request import GenerationRequest, PreparedRequest
from inference.preparing import check_room, prepared
from llmservice.database import return_to_pool
from llmservice.http import problems, request_record

LAST_STEP_S = 30.0
"""A cancelled generation ends with the backend's next step; no step takes this long."""


class Metered:
    """The generations of one HTTP request, under one reservation of the key's limits.

    `admit` reserves and starts them; `close`, or the end of a `with` block, settles what they used. `close`
    may be called any number of times, and settles also when no event was ever read: a stream whose body is
    never started costs what was generated until then.

    Args:
        key: whose limits and usage it is.
        requests: one for each prompt; what the backend has prepared already is not prepared again. Their new
            tokens are capped at the key's `max_tokens`.
        choices: how many texts of each prompt, whose tokens count once. Text i draws with the seed plus i.

    Raises:
        EmptyPrompt, TokenWithoutEmbedding, PromptTooLong, InvalidChat, InvalidGrammar: a request can never
            be generated; nothing is counted.
        Overloaded, Unavailable: the backend has no room for a request that is not prepared yet.
        LimitExceeded: one has a grammar, and the key has no request left.

    Attributes:
        generations: in the order of the requests, those of one request together; empty before `admit`.
    """

    def __init__(
        self,
        *,
        key: APIKey,
        backend: Backend,
        requests: Sequence[GenerationRequest | PreparedRequest],
        choices: int = 1,
    ) -> None:
        self.generations: list[Generation] = []
        self._key = key
        self._backend = backend
        self._choices = choices
        self._kept = key.prompts != Prompts.NEVER
        self._prompts = [self._prompt(request) for request in requests]
        self._prepared = [prompt.choice(i) for prompt in self._prompts for i in range(choices)]
        self._admission: Admission | None = None

    def _prompt(self, request: GenerationRequest | PreparedRequest) -> PreparedRequest:
        capped = Limits.of(self._key).capped
        if isinstance(request, PreparedRequest):
            asked = request.request
            limited = replace(asked, max_new_tokens=capped(asked.max_new_tokens), kept=self._kept)
            return replace(request, request=limited)
        wanted = replace(request, max_new_tokens=capped(request.max_new_tokens), kept=self._kept)
        return prepared(wanted, key=self._key, backend=self._backend)

    @property
    def prompt_texts(self) -> list[str]:
        """The prompts as they were sent, or the text of their tokens without special ones."""
        return [
            text if isinstance(text := prepared.request.prompt, str) else self._backend.prompt_text(prepared)
            for prepared in self._prompts
        ]

    @property
    def first_tokens(self) -> list[int]:
        """The first token of each prompt; 0 for one that another server tokenises."""
        return [prepared.prompt_ids[0] if prepared.prompt_ids else 0 for prepared in self._prompts]

    @property
    def prompt_tokens(self) -> int:
        """The tokens of all prompts; another server may count them only while it generates."""
        if self.generations:
            return sum(generation.prompt_tokens for generation in self.generations[:: self._choices])
        return sum(prepared.prompt_tokens for prepared in self._prompts)

    @property
    def completion_tokens(self) -> int:
        """The tokens generated so far."""
        return sum(generation.completion_tokens for generation in self.generations)

    @property
    def cached_tokens(self) -> int:
        """The tokens of all prompts that did not have to be computed: those that every choice has found."""
        return sum(
            min(one.cached_prompt_tokens for one in self.generations[first : first + self._choices])
            for first in range(0, len(self.generations), self._choices)
        )

    @property
    def usage(self) -> dict[str, int]:
        """What a client is told of its tokens so far; each prompt counts once."""
        return self.usage_after(self.completion_tokens)

    def usage_after(self, completion_tokens: int) -> dict[str, int]:
        """What a client is told once it has received this many generated tokens."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
        }

    def admit(self) -> Self:
        """Reserve what the requests may use, and start them.

        Raises:
            LimitExceeded, NeverWithinLimit: the key's limits do not allow it.
            Overloaded, Unavailable: the backend has no room; no tokens are counted.
        """
        # It has been checked for one text, before a preparation that may have taken long.
        check_room(self._key, self._backend, count=len(self._prepared))
        self._admission = admit(
            key=self._key,
            tokens=sum(
                prompt.prompt_tokens + self._choices * prompt.request.max_new_tokens
                for prompt in self._prompts
            ),
            timeout_s=self._longest_s(),
            endpoint=endpoint.current(),
        )
        return_to_pool()  # this request now waits for its text, and connections are few
        try:
            self.generations = self._backend.submit_all(self._prepared)
        except BaseException as error:
            self.close(error)
            raise
        return self

    def events(self, timeout_s: float | None = None) -> Generator[tuple[int, Event] | None, None, None]:
        """The events of all generations as they come, each with its generation's index; settles at the end.

        None comes whenever `timeout_s` passes without an event. Closing the iterator cancels what still runs.

        Raises:
            EngineError: how one of them failed.
        """
        try:
            yield from merged_events(self.generations, timeout_s)
        except BaseException as error:
            self.close(error)
            raise
        self.close()

    def close(self, error: BaseException | None = None) -> None:
        """Cancel what still runs, settle what was used, and record how the request ended.

        Args:
            error: why the request ends; None where its client has what it wanted.
        """
        admission, self._admission = self._admission, None
        if admission is None:
            return
        outcome = self._outcome(error)
        self._end_generations()
        # What the engine has not computed costs nothing: the rest of a prompt, or a request that never ran.
        prompt_tokens = sum(
            max(
                generation.computed_prompt_tokens
                for generation in self.generations[first : first + self._choices]
            )
            for first in range(0, len(self.generations), self._choices)
        )
        completion_tokens = self.completion_tokens
        # How long a request took says nothing if it ended early.
        finished = outcome is Outcome.FINISHED
        settled_from = time.monotonic()
        settle(
            admission.settlement(
                outcome,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                first_token_ms=self._first_token_ms() if finished else None,
                total_ms=self._total_ms() if finished else None,
            )
        )
        self._record(outcome, prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
        self._trace(settled_from)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(error)

    def _outcome(self, error: BaseException | None) -> Outcome:
        """The one place that decides what the account says of the request."""
        if error is None:
            # Nobody has read what a generation ended with, but it still decides.
            outcomes = [generation.outcome for generation in self.generations]
            error = next((outcome for outcome in outcomes if isinstance(outcome, EngineError)), None)
            if error is None:
                return Outcome.CANCELLED if None in outcomes else Outcome.FINISHED
        if isinstance(error, GeneratorExit):
            return Outcome.CANCELLED
        meaning = problems.meaning_of(error)
        return Outcome(meaning.outcome) if meaning is not None else Outcome.FAILED

    def _end_generations(self) -> None:
        """Wait until no generation adds tokens any more."""
        for generation in self.generations:
            if not generation.done:
                generation.cancel()
        for generation in self.generations:
            with suppress(EngineError, TimeoutError):
                generation.result(timeout_s=LAST_STEP_S)

    def _first_token_ms(self) -> int | None:
        """Until the first token of any of the texts; None if no token was asked for."""
        times = [one.first_token_s for one in self.generations if one.first_token_s is not None]
        return round(1000 * min(times)) if times else None

    def _total_ms(self) -> int | None:
        """Until the end of the last text."""
        times = [one.total_s for one in self.generations if one.total_s is not None]
        return round(1000 * max(times)) if times else None

    def _longest_s(self) -> float:
        """The seconds after which all requests have ended."""
        timeouts = [prepared.request.timeout_s for prepared in self._prepared]
        return max(settings.LLM_REQUEST_TIMEOUT_S if timeout is None else timeout for timeout in timeouts)

    def _record(self, outcome: Outcome, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Write down for the log and the metrics how it went."""
        record = request_record.current()
        if record is None:
            return
        record.outcome = outcome.value
        record.prompt_tokens, record.completion_tokens = prompt_tokens, completion_tokens
        record.cached_tokens = self.cached_tokens
        if self._key.prompts == Prompts.KEPT or (settings.LOG_PROMPTS and self._kept):
            record.prompt = "\n".join(self.prompt_texts)
        if self.generations:
            first = self.generations[0]
            record.first_token_s = first.first_token_s
            record.between_tokens_s = first.between_tokens_s
            if isinstance(first.outcome, Completion):
                record.queued_s, record.generated_s = first.queued_s, first.generated_s

    def _trace(self, settled_from: float) -> None:
        """Add to the span of the request what was generated, if there is one."""
        record = request_record.current()
        if record is None or record.span is None:
            return
        generation_spans.describe(
            record.span,
            prompts=self._prompts,
            choices=self._choices,
            generations=self.generations,
            model=self._backend.model_name,
            usage=self.usage,
            cached_tokens=self.cached_tokens,
        )
        record.span.stage("settlement", settled_from, time.monotonic(), {})
