"""What is asked of the engine, and what it gives back."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from inference.engine.errors import EngineError

FinishReason = Literal["length", "stop"]


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How the next token is chosen, in the terms of transformers' `GenerationConfig`.

    Attributes:
        do_sample: draw from the distribution; otherwise take the likeliest token (greedy).
        temperature: divides the logits; used only when sampling, as are top_k and top_p.
        top_k: keep the k likeliest tokens; 0 keeps all.
        top_p: keep the likeliest tokens whose probabilities add up to this (nucleus sampling).
        repetition_penalty: over 1.0 makes tokens that already occurred less likely.
        seed: of this request's own random numbers.
    """

    do_sample: bool = True
    temperature: float = 0.7
    top_k: int = 50
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One text to continue.

    Attributes:
        prompt_ids: the prompt's tokens, as `Engine.tokenize` gives them.
        max_new_tokens: how many tokens to generate at the most.
        stop: strings that end the text; the one found is left out of it.
        owner: whose request it is; owners share the engine evenly.
        timeout_s: seconds from submission after which it is ended; None never.
    """

    prompt_ids: tuple[int, ...]
    sampling: SamplingParams
    max_new_tokens: int = 50
    stop: tuple[str, ...] = ()
    owner: str = ""
    timeout_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A finished generation: the new text alone, and what it took.

    `queued_s` is the wait before the first step, `generated_s` the time from there to the end.
    """

    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int
    queued_s: float
    generated_s: float


class Generation:
    """The client's end of a running request: text as it comes, the result, and the way to give it up.

    Safe to use from any thread. The engine's end is `publish` and `finish`.

    Attributes:
        completion_tokens: generated so far.
        first_token_s: seconds from its submission to its first token; None before that.
    """

    def __init__(self, request: GenerationRequest) -> None:
        self.request = request
        self.completion_tokens = 0
        self.first_token_s: float | None = None
        self._submitted_at = time.monotonic()
        self._pieces: list[str] = []
        self._outcome: Completion | EngineError | None = None
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._cancelled = False

    def __iter__(self) -> Iterator[str]:
        """The text piece by piece, as it is generated; raises what `result` raises."""
        seen = 0
        while True:
            with self._changed:
                while len(self._pieces) == seen and self._outcome is None:
                    self._changed.wait()
                piece = "".join(self._pieces[seen:])
                seen = len(self._pieces)
                outcome = self._outcome
            if piece:
                yield piece
            if isinstance(outcome, EngineError):
                raise outcome
            if outcome is not None:
                return

    def result(self, timeout_s: float | None = None) -> Completion:
        """Wait for the end.

        Raises:
            DeadlineExceeded, Cancelled, GenerationFailed, Overloaded, Unavailable: how it ended instead.
            TimeoutError: `timeout_s` passed and it goes on.
        """
        # Not on the condition: a client who wants the whole is not woken for every token.
        if not self._ended.wait(timeout_s):
            raise TimeoutError
        outcome = self._outcome
        if isinstance(outcome, EngineError):
            raise outcome
        assert outcome is not None  # noqa: S101
        return outcome

    def cancel(self) -> None:
        """Give the request up; the engine frees its place at the next step."""
        self._cancelled = True

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    @property
    def done(self) -> bool:
        return self._outcome is not None

    @property
    def outcome(self) -> Completion | EngineError | None:
        """How it ended; None while it goes on."""
        return self._outcome

    def publish(self, piece: str, *, completion_tokens: int) -> None:
        """Engine: a token was generated, and `piece` of the text became final with it (may be empty)."""
        if self.first_token_s is None:
            self.first_token_s = time.monotonic() - self._submitted_at
        self.completion_tokens = completion_tokens
        if piece:
            with self._changed:
                self._pieces.append(piece)
                self._changed.notify_all()

    def finish(self, outcome: Completion | EngineError) -> None:
        """Engine: the request has ended; only the first ending counts."""
        with self._changed:
            if self._outcome is None:
                self._outcome = outcome
                self._ended.set()
                self._changed.notify_all()
