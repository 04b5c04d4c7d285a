"""What a backend gives back: the events of a text, its end, and the way to cancel it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from inference.engine.errors import EngineError
from inference.engine.logprobs import TokenLogprobs
from inference.engine.request import PreparedRequest

FinishReason = Literal["length", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What one token added to a text; without a token, that the text ends.

    Attributes:
        text: what became final; may be empty, while a character or a stop string is incomplete.
        token_ids: the tokens that were generated.
        unnamed_tokens: how many more were generated, of which another server does not tell the ids.
        logprobs: those of the tokens; empty if the request did not ask for them.
        prompt_logprobs: in the first event, those of the prompt's tokens; None for the first token, which
            nothing predicts. Empty if the request did not ask for them.
        finish_reason: why the text ends here; None while it goes on.
    """

    text: str
    token_ids: tuple[int, ...]
    unnamed_tokens: int = 0
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()
    finish_reason: FinishReason | None = None

    @property
    def tokens(self) -> int:
        """How many tokens were generated."""
        return len(self.token_ids) + self.unnamed_tokens


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A finished generation.

    Attributes:
        text: the new text without the prompt.
        prompt_tokens: how many tokens the prompt has.
        completion_tokens: how many were generated.
        token_ids: those; with the token that ended the text, which `text` does not contain.
        logprobs, prompt_logprobs: as in `Event`.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()

    def as_event(self) -> Event:
        """The one event of a text that comes whole."""
        return Event(
            text=self.text,
            token_ids=self.token_ids,
            logprobs=self.logprobs,
            prompt_logprobs=self.prompt_logprobs,
            finish_reason=self.finish_reason,
        )


class Generation:
    """A submitted request as its client sees it: its events, its result, and the way to cancel it.

    Safe to use from any thread. The backend's side is `start`, `publish` and `finish`, each called by one
    thread. All times are on the backend's clock, in seconds.

    Attributes:
        prompt_tokens: how many the prompt has.
        computed_prompt_tokens: how many of them have been computed so far, or found in the prefix cache.
        cached_prompt_tokens: how many of them were found there, and did not have to be computed.
        completion_tokens: how many have been generated so far.
        cancelled: the client wants no more of it.
    """

    def __init__(self, prepared: PreparedRequest, *, submitted_at: float) -> None:
        self.request = prepared.request
        self.prompt_tokens = prepared.prompt_tokens
        self.computed_prompt_tokens = 0
        self.cached_prompt_tokens = 0
        self.completion_tokens = 0
        self.cancelled = False
        self.submitted_at = submitted_at
        self.started_at: float | None = None
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self.ended_at: float | None = None
        self._events: list[Event] = []
        self._outcome: Completion | EngineError | None = None
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._listeners: tuple[Callable[[], None], ...] = ()

    @property
    def queued_s(self) -> float | None:
        """The wait before its first step; None before that."""
        return None if self.started_at is None else self.started_at - self.submitted_at

    @property
    def first_token_s(self) -> float | None:
        """The time from its submission to its first token; None before that."""
        return None if self.first_token_at is None else self.first_token_at - self.submitted_at

    @property
    def between_tokens_s(self) -> float | None:
        """The mean time between its tokens so far; None before the second."""
        if self.first_token_at is None or self.last_token_at is None or self.completion_tokens < 2:
            return None
        return (self.last_token_at - self.first_token_at) / (self.completion_tokens - 1)

    @property
    def generated_s(self) -> float | None:
        """The time from its first step to its end; None before that."""
        if self.started_at is None or self.ended_at is None:
            return None
        return self.ended_at - self.started_at

    @property
    def total_s(self) -> float | None:
        """The time from its submission to its end; None before that."""
        return None if self.ended_at is None else self.ended_at - self.submitted_at

    @property
    def outcome(self) -> Completion | EngineError | None:
        """How it ended; None while it runs."""
        return self._outcome

    @property
    def done(self) -> bool:
        return self._outcome is not None

    def result(self, timeout_s: float | None = None) -> Completion:
        """Wait for the end.

        Raises:
            DeadlineExceeded, Cancelled, GenerationFailed, Overloaded, Unavailable: it ended without a text.
            TimeoutError: it still runs after `timeout_s`.
        """
        # Not by listening: a client that wants the whole text is not woken for every token.
        if not self._ended.wait(timeout_s):
            raise TimeoutError
        outcome = self._outcome
        if isinstance(outcome, EngineError):
            raise outcome
        assert outcome is not None  # noqa: S101
        return outcome

    def events(self, timeout_s: float | None = None) -> Iterator[Event | None]:
        """The events from the first on, as they come; None whenever `timeout_s` passes without one.

        Raises:
            EngineError: as `result` does, after the last event.
        """
        for item in merged_events([self], timeout_s):
            yield None if item is None else item[1]

    def events_from(self, index: int) -> list[Event]:
        """The events so far, without the first `index`; does not wait."""
        return self._events[index:]

    def cancel(self) -> None:
        """End the request at the backend's next step."""
        self.cancelled = True

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after each event and at the end, in the backend's thread: it must not block."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def unlisten(self, listener: Callable[[], None]) -> None:
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def start(self, *, now: float) -> None:
        """Backend: the next step is the first that computes it."""
        self.started_at = now

    def skip_to(self, prompt_tokens: int) -> None:
        """Backend: this many tokens of the prompt need not be computed."""
        skipped = max(0, prompt_tokens - self.computed_prompt_tokens)
        self.cached_prompt_tokens += skipped
        self.computed_prompt_tokens += skipped

    def publish(self, event: Event, *, now: float) -> None:
        """Backend: a step has computed something that the client gets."""
        if event.tokens:
            self.last_token_at = now
            if self.first_token_at is None:
                self.first_token_at = now
        self.completion_tokens += event.tokens
        self._events.append(event)
        for listener in self._listeners:
            listener()

    def recount(self, *, prompt_tokens: int, completion_tokens: int) -> None:
        """Backend: another server has computed and counted this many tokens until now."""
        self.prompt_tokens = self.computed_prompt_tokens = prompt_tokens
        self.completion_tokens = completion_tokens

    def restart(self) -> None:
        """Backend: it is computed again from the beginning; only for a request whose events nobody reads."""
        self._events.clear()
        self.computed_prompt_tokens = self.completion_tokens = 0
        self.first_token_at = self.last_token_at = None

    def finish(self, outcome: Completion | EngineError, *, now: float) -> None:
        """Backend: the request has ended; only the first call counts."""
        with self._lock:
            if self._outcome is not None:
                return
            self.ended_at = now
            self._outcome = outcome
        self._ended.set()
        for listener in self._listeners:
            listener()


def merged_events(
    generations: Sequence[Generation], timeout_s: float | None = None
) -> Iterator[tuple[int, Event] | None]:
    """The events of several generations as they come, each with the index of its generation.

    None comes whenever `timeout_s` passes without an event, so that the caller can look after its client.

    Raises:
        EngineError: how one of them failed, after its last event.
    """
    news = threading.Event()
    for generation in generations:
        generation.listen(news.set)
    try:
        seen = [0] * len(generations)
        running = set(range(len(generations)))
        while running:
            # Cleared before looking, so that what comes while looking ends the next wait at once.
            news.clear()
            idle = True
            for index in sorted(running):
                done = generations[index].done  # before its events: the last one precedes the end
                for event in generations[index].events_from(seen[index]):
                    seen[index] += 1
                    idle = False
                    yield index, event
                if done:
                    generations[index].result()
                    running.discard(index)
            if idle and running and not news.wait(timeout_s):
                yield None
    finally:
        for generation in generations:
            generation.unlisten(news.set)
