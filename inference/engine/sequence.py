"""One request inside the engine: how far it is, and what each new token does to it."""

from inference.engine.detokenizer import Detokenizer
from inference.engine.errors import EngineError, NoFittingText
from inference.engine.generation import Completion, Event, FinishReason, Generation
from inference.engine.grammar.constraint import Constraint
from inference.engine.logprobs import TokenLogprobs
from inference.engine.request import PreparedRequest
from inference.engine.sampler import Sampler
from inference.engine.scoring import token_logprobs
from inference.engine.segment import Segment
from inference.engine.tokenizer import Tokenizer
from inference.engine.top_k import Array

_MOST_DRAWS = 8
"""How many texts are drawn for a grammar that is checked at the end, until one fits."""


class Sequence:
    """The state of a request from its submission to its end.

    Args:
        generation: the client's view of the request.
        eos_ids: tokens that end a text.

    Attributes:
        constraint: holds the text to the request's grammar, if it has one.
        token_ids: prompt and generated tokens.
        most_tokens: how many it can have.
        scores_prompt: it needs logits after every token of its prompt.
        blocks: its blocks of the KV cache, while it runs.
        deadline: the time at which it is ended, on the engine's clock; None never.
        finished: its last token has been chosen, or it has failed.
    """

    def __init__(
        self,
        generation: Generation,
        prepared: PreparedRequest,
        tokenizer: Tokenizer,
        *,
        eos_ids: frozenset[int],
    ) -> None:
        self.generation = generation
        self.request = prepared.request
        self.most_tokens = prepared.max_tokens
        self.token_ids = list(prepared.prompt_ids)
        self.scores_prompt = self.request.prompt_logprobs is not None
        self.blocks: list[int] | None = None
        timeout_s = self.request.timeout_s
        self.deadline = None if timeout_s is None else generation.submitted_at + timeout_s
        self.finished = False
        self._prompt_tokens = prepared.prompt_tokens
        self._computed = 0
        self._prefill_end = self._prompt_tokens
        own_ends = frozenset() if self.request.ignore_eos else eos_ids
        self._end_ids = own_ends.union(self.request.stop_token_ids)
        self._tokenizer = tokenizer
        self.constraint = self._new_constraint(prepared)
        self._sampler = Sampler(self.request.sampling, prompt_tokens=self._prompt_tokens)
        self._detokenizer = self._new_detokenizer()
        self._draws = 1
        self._held: list[Event] = []
        self._prompt_logprobs: list[TokenLogprobs | None] = [None] if self.scores_prompt else []

    @property
    def prefilling(self) -> bool:
        """Whether a part of its prompt is still to be computed, or of what it had before it was preempted."""
        return self._computed < self._prefill_end

    @property
    def length(self) -> int:
        """How many tokens it has, the prompt's included."""
        return len(self.token_ids)

    def chooses_after(self, segment: Segment) -> bool:
        """Whether a token is chosen once the segment is computed."""
        return segment.start + len(segment.token_ids) == len(self.token_ids)

    def next_segment(self, most: int) -> Segment:
        """The next tokens to compute, at most `most` of them."""
        assert self.blocks is not None  # noqa: S101
        end = min(len(self.token_ids), self._computed + most)
        token_ids = self.token_ids[self._computed : end]
        logits = len(token_ids) if self.scores_prompt and self.prefilling else 1
        return Segment(token_ids, self._computed, self.blocks, logits)

    def advance(self, segment: Segment, logits: Array, *, now: float) -> None:
        """Take what a step has computed, and accept a token for each row of logits until the text ends.

        Args:
            logits: `[segment.logits, vocabulary]`, after the last tokens of the segment. Each row after the
                prompt's end must follow from the tokens accepted before it.

        Raises:
            GenerationFailed: the logits are not numbers, or the grammar cannot be followed.
            NoFittingText: none of the texts drawn fits the grammar.
        """
        computed = segment.start + len(segment.token_ids)
        known = self.generation.computed_prompt_tokens
        self.generation.computed_prompt_tokens = max(known, min(computed, self._prompt_tokens))
        if self.scores_prompt and segment.start < self._prompt_tokens:
            predicted = self.token_ids[segment.start + 1 : computed + 1]
            self._prompt_logprobs += self._logprobs(
                logits[: len(predicted)], predicted, self.request.prompt_logprobs
            )
            logits = logits[len(predicted) :]
        if computed < len(self.token_ids):
            self._computed = computed
            return
        accepted: list[int] = []
        pieces: list[str] = []
        reason: FinishReason | None = None if self.request.max_new_tokens else "length"
        for row in logits if reason is None else ():
            token_id = self._choose(row)
            if token_id is None:
                reason = "stop"
                break
            accepted.append(token_id)
            self.token_ids.append(token_id)
            reason = self._append(token_id, pieces)
            if reason is not None:
                break
        self._computed = computed + len(accepted) - 1
        first = not self.generation.completion_tokens and not self._held
        if reason is not None:
            pieces.append(self._detokenizer.finish())
            if self._detokenizer.stopped:
                reason = "stop"
        if reason == "stop" and self.constraint is not None and not self._fits(self.constraint):
            self._draw_again(self.constraint)
            return
        event = Event(
            text="".join(pieces),
            token_ids=tuple(accepted),
            logprobs=self._logprobs(logits[: len(accepted)], accepted, self.request.logprobs),
            prompt_logprobs=tuple(self._prompt_logprobs) if first else (),
            finish_reason=reason,
        )
        self._publish(event, now=now)
        if reason is not None:
            self._complete(reason, now=now)

    def preempt(self) -> None:
        """Give up its blocks; it goes on once all its tokens have been computed again, with the same bits."""
        if self._computed >= self._prompt_tokens:
            self.scores_prompt = False
        elif self.scores_prompt:
            self._prompt_logprobs = [None]
        self.blocks = None
        self._computed = 0
        self._prefill_end = len(self.token_ids)

    def fail(self, error: EngineError, *, now: float) -> None:
        """End it without a completion; it has used the tokens of its last text, published or held back."""
        self.finished = True
        self.generation.completion_tokens = self._generated
        self.generation.finish(error, now=now)

    def _choose(self, row: Array) -> int | None:
        """The next token; None if the grammar allows no more."""
        if self.constraint is None:
            return self._sampler.choose(row, self.token_ids, forbidden=self._forbidden())
        allowed = self.constraint.allowed(may_end=self._generated >= self.request.min_tokens)
        return self._sampler.choose(row, self.token_ids, allowed=allowed) if len(allowed) else None

    def _append(self, token_id: int, pieces: list[str]) -> FinishReason | None:
        if token_id in self._end_ids and (self.constraint is None or self.constraint.may_end):
            return "stop"
        if self.constraint is not None:
            self.constraint.accept(token_id)
        pieces.append(self._detokenizer.append(token_id))
        if self._detokenizer.stopped or (self.constraint is not None and self.constraint.complete):
            return "stop"
        return "length" if self._generated == self.request.max_new_tokens else None

    @property
    def _generated(self) -> int:
        return len(self.token_ids) - self._prompt_tokens

    def _forbidden(self) -> frozenset[int]:
        return self._end_ids if self._generated < self.request.min_tokens else frozenset()

    def _logprobs(self, logits: Array, token_ids: list[int], top: int | None) -> tuple[TokenLogprobs, ...]:
        if top is None:
            return ()
        return tuple(token_logprobs(logits, token_ids, top=top, token_bytes=self._tokenizer.token_bytes))

    def _new_constraint(self, prepared: PreparedRequest) -> Constraint | None:
        if prepared.grammar is None:
            return None
        stops = self.request.stop
        special = {self._tokenizer.special_ids[stop] for stop in stops if stop in self._tokenizer.special_ids}
        self._end_ids |= special
        return prepared.grammar.constraint(end_ids=self._end_ids, stops=bool(stops))

    def _new_detokenizer(self) -> Detokenizer:
        acceptor = None if self.constraint is None else self.constraint.acceptor
        return Detokenizer(
            self._tokenizer,
            tuple(self.token_ids[: self._prompt_tokens]),
            self.request.stop,
            min_tokens=self.request.min_tokens,
            may_end=None if acceptor is None else acceptor.may_end,
        )

    def _fits(self, constraint: Constraint) -> bool:
        return constraint.fits(self._detokenizer.text)

    def _draw_again(self, constraint: Constraint) -> None:
        """Begin another text, with the numbers that follow those of this one."""
        if not constraint.provisional:
            raise NoFittingText("The text does not fit its schema, and what came of it cannot be taken back.")
        # Greedy decoding would write the same text again.
        most = _MOST_DRAWS if self.request.sampling.do_sample else 1
        if self._draws == most:
            raise NoFittingText(
                f"None of the texts drawn fits the schema ({most} at most). Keywords such as oneOf, not and "
                "uniqueItems are only checked when a text ends: ask again with another seed, or without them."
            )
        self._draws += 1
        self._held.clear()
        constraint.restart()
        del self.token_ids[self._prompt_tokens :]
        self._detokenizer = self._new_detokenizer()
        self._prefill_end = self._prompt_tokens
        self._computed = self._prompt_tokens - 1  # the logits after the prompt are needed again
        self.scores_prompt = False

    def _publish(self, event: Event, *, now: float) -> None:
        """Publish what a step added, or hold it back until the whole text has been checked."""
        self._held.append(event)
        held_back = self.constraint is not None and self.constraint.provisional
        if held_back and event.finish_reason is None:
            return
        for one in self._held:
            self.generation.publish(one, now=now)
        self._held.clear()

    def _complete(self, reason: FinishReason, *, now: float) -> None:
        self.finished = True
        completion = Completion(
            text=self._detokenizer.text,
            finish_reason=reason,
            prompt_tokens=self._prompt_tokens,
            completion_tokens=self.generation.completion_tokens,
            token_ids=tuple(self.token_ids[self._prompt_tokens :]),
            logprobs=tuple(one for event in self.generation.events_from(0) for one in event.logprobs),
            prompt_logprobs=tuple(self._prompt_logprobs),
        )
        self.generation.finish(completion, now=now)
