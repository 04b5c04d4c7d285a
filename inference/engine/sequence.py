"""One request inside the engine: how far it is, and what is computed next."""

from collections.abc import Callable

from inference.engine.blocks import BLOCK
from inference.engine.drafter import Drafter
from inference.engine.errors import EngineError, NoFittingText
from inference.engine.generation import Completion, Event, Generation
from inference.engine.logprobs import TokenLogprobs
from inference.engine.publisher import Publisher
from inference.engine.request import PreparedRequest
from inference.engine.sampler import Draw
from inference.engine.segment import Segment
from inference.engine.speculation import Speculation
from inference.engine.tokenizer import Tokenizer
from inference.engine.top_k import Array
from inference.engine.writer import Writer, Written

_MOST_DRAWS = 8
"""How many texts are drawn for a grammar that is checked at the end, until one fits."""
_MOST_FORCED = 8
"""How many tokens that a grammar forces are computed in one step: others wait for a longer one."""


class Sequence:
    """The state of a request from its submission to its end.

    Args:
        generation: the client's view of the request.
        eos_ids: tokens that end a text.
        draw: draws from the distribution of a next token.
        drafter: makes what proposes this text's next tokens; None proposes none.

    Attributes:
        constraint: holds the text to the request's grammar, if it has one.
        token_ids: prompt and generated tokens.
        most_tokens: how many it can have.
        scores_prompt: it needs logits after every token of its prompt.
        blocks: its blocks of the KV cache, while it runs.
        block_names: the prefix cache's names of its first blocks.
        deadline: the time at which it is ended, on the engine's clock; None never.
        finished: its last token has been chosen, or it has failed.
        accepted_drafts: proposed tokens that came.
    """

    def __init__(
        self,
        generation: Generation,
        prepared: PreparedRequest,
        tokenizer: Tokenizer,
        *,
        eos_ids: frozenset[int],
        draw: Draw,
        drafter: Callable[[], Drafter] | None = None,
    ) -> None:
        self.generation = generation
        self.request = prepared.request
        self.most_tokens = prepared.max_tokens
        self._writer = Writer(prepared, tokenizer, eos_ids=eos_ids, draw=draw)
        self.constraint = self._writer.constraint
        self.token_ids = self._writer.token_ids
        self.scores_prompt = self.request.prompt_logprobs is not None
        self.blocks: list[int] | None = None
        self.block_names: list[bytes] = []
        timeout_s = self.request.timeout_s
        self.deadline = None if timeout_s is None else generation.submitted_at + timeout_s
        self.finished = False
        self.accepted_drafts = 0
        self._prompt_tokens = prepared.prompt_tokens
        self._computed = 0
        self._prefill_end = self._prompt_tokens
        self._draws = 1
        self._drafter = drafter
        self._speculation: Speculation | None = None
        self._publisher = Publisher(generation, holds_back=self._writer.provisional)
        self._prompt_logprobs: list[TokenLogprobs | None] = [None] if self.scores_prompt else []

    @property
    def prefilling(self) -> bool:
        """Whether a part of its prompt is still to be computed, or of what it had before it was preempted."""
        return self._computed < self._prefill_end

    @property
    def length(self) -> int:
        """How many tokens it has, the prompt's included."""
        return len(self.token_ids)

    @property
    def computed(self) -> int:
        """How many of its first tokens have keys and values in its blocks."""
        return self._computed

    @property
    def lasting(self) -> int:
        """How many of its first tokens will not be computed again once they have been.

        A text that may be drawn again keeps its prompt alone. The last token is computed for its logits.
        """
        provisional = self._writer.provisional and not self.finished
        return (self._prompt_tokens if provisional else len(self.token_ids)) - 1

    @property
    def findable(self) -> int:
        """How many of its first tokens need not be computed where the prefix cache has them."""
        return 0 if self.scores_prompt else self.lasting

    def skip_to(self, tokens: int) -> None:
        """Treat this many of its first tokens as computed: the prefix cache has found them."""
        self._computed = tokens
        self.generation.skip_to(min(tokens, self._prompt_tokens))

    def chooses_after(self, segment: Segment) -> bool:
        """Whether a token is chosen once the segment is computed."""
        return segment.start + len(segment.token_ids) >= len(self.token_ids)

    def next_segment(self, most: int, *, drafts: int = 0) -> Segment:
        """The next tokens to compute: at most `most` of its prompt, or all since the last step.

        Args:
            drafts: the most guesses that may follow them, as far as its blocks have room.
        """
        assert self.blocks is not None  # noqa: S101
        if self.prefilling:
            token_ids = self.token_ids[self._computed : self._computed + most]
            logits = len(token_ids) if self.scores_prompt else 1
            return Segment(token_ids, self._computed, self.blocks, logits)
        room = BLOCK * len(self.blocks) - len(self.token_ids)
        proposed = list(self._writer.forced[:room])
        drafted: list[int] = []
        if not self._writer.forced:
            left = self.most_tokens - len(self.token_ids) - 1  # the last token is never computed
            drafted = self._draft(min(drafts, room, left))
        token_ids = self.token_ids[self._computed :] + proposed + drafted
        logits = 1 + len(proposed) + len(drafted)
        return Segment(token_ids, self._computed, self.blocks, logits, len(drafted))

    def advance(self, segment: Segment, logits: Array, *, now: float) -> None:
        """Take what a step has computed, and accept a token for each row that follows from the text.

        The segment's tokens behind the end of the text are guesses. Where another token is accepted, the rows
        after it are of no use.

        Args:
            logits: `[segment.logits, vocabulary]`, after the last tokens of the segment.

        Raises:
            GenerationFailed: the logits are not numbers.
            NoFittingText: none of the texts drawn fits the grammar, or it cannot be followed.
        """
        computed = segment.start + len(segment.token_ids)
        known = self.generation.computed_prompt_tokens
        self.generation.computed_prompt_tokens = max(known, min(computed, self._prompt_tokens))
        if self.scores_prompt and segment.start < self._prompt_tokens:
            predicted = self.token_ids[segment.start + 1 : computed + 1]
            self._prompt_logprobs += self._writer.logprobs(
                logits[: len(predicted)], predicted, self.request.prompt_logprobs
            )
            logits = logits[len(predicted) :]
        if computed < len(self.token_ids):
            self._computed = computed
            return
        if not self.request.max_new_tokens:
            self._add(Written(token_id=None, piece="", reason="length"), now=now)
            return
        proposed = segment.token_ids[len(self.token_ids) - segment.start :]
        followed = self._follow(proposed, logits, now=now)
        if segment.drafts:
            self.accepted_drafts += followed
            if self._speculation is not None:  # a text that is drawn again begins without
                self._speculation.learn(drafted=segment.drafts, accepted=followed)

    def _follow(self, proposed: list[int], logits: Array, *, now: float) -> int:
        """Accept tokens as long as they are those proposed, and one more; returns how many were."""
        texts = self._draws
        for count, row in enumerate(logits):
            written = self._writer.write(row)
            self._add(written, now=now)
            self._computed = len(self.token_ids) - 1
            if count == len(proposed) or written.token_id != proposed[count]:
                return count
            if self.finished or self._draws > texts:
                return count + 1
        raise AssertionError("each token proposed has a row of logits, and so has the one before")

    @property
    def may_be_forced(self) -> bool:
        """Whether `force` may be called: there is a grammar, and few tokens are still to be computed."""
        ahead = len(self.token_ids) + len(self._writer.forced) - self._computed
        going = self.constraint is not None and not self.finished and not self.prefilling
        return going and ahead <= _MOST_FORCED

    def force(self, *, now: float) -> bool:
        """Take the next token without its logits if the grammar allows no other; returns whether it did.

        If log-probabilities are asked for, the text gets the token once the logits have been computed.

        Raises:
            NoFittingText: none of the texts drawn fits the grammar, or it cannot be followed.
        """
        if not self._writer.force():
            return False
        if self.request.logprobs is None:
            self._add(self._writer.write(None), now=now)
        return True

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
        self.generation.completion_tokens = self._writer.generated
        self.generation.finish(error, now=now)

    def _draft(self, most: int) -> list[int]:
        """At most `most` tokens that may follow.

        What proposes them learns the text when it is first asked: its index takes memory and time, which a
        request that waits, or runs beside many others, has no use for.
        """
        if self._drafter is None or most <= 0:
            return []
        if self._speculation is None:
            self._speculation = Speculation(self._drafter(), self.token_ids[: self._prompt_tokens])
            for token_id in self.token_ids[self._prompt_tokens :]:
                self._speculation.append(token_id)
        return self._speculation.propose(most)

    def _draw_again(self) -> None:
        """Begin another text, with the numbers that follow those of this one."""
        if not self._writer.provisional:
            raise NoFittingText("The text does not fit its schema, and what came of it cannot be taken back.")
        # Greedy decoding would write the same text again.
        most = _MOST_DRAWS if self.request.sampling.do_sample else 1
        if self._draws == most:
            raise NoFittingText(
                f"None of the texts drawn fits the schema ({most} at most). Keywords such as oneOf, not and "
                "uniqueItems are only checked when a text ends: ask again with another seed, or without them."
            )
        self._draws += 1
        self._publisher.clear()
        self._writer.restart()
        self._speculation = None
        self._prefill_end = self._prompt_tokens
        self._computed = self._prompt_tokens - 1  # the logits after the prompt are needed again
        self.scores_prompt = False

    def _add(self, written: Written, *, now: float) -> None:
        """Tell the client what was added to the text, and end it for a reason."""
        ends = written.reason == "stop" or (written.reason == "length" and self._writer.provisional)
        if ends and not self._writer.fits(cut=written.reason == "length"):
            self._draw_again()
            return
        token_ids = () if written.token_id is None else (written.token_id,)
        if self._speculation is not None and written.token_id is not None:
            self._speculation.append(written.token_id)
        event = Event(
            text=written.piece,
            token_ids=token_ids,
            logprobs=written.logprobs,
            prompt_logprobs=() if self._publisher.begun else tuple(self._prompt_logprobs),
            finish_reason=written.reason,
        )
        self._publisher.add(event, now=now)
        if written.reason is not None:
            self.finished = True
            completion = Completion(
                text=self._writer.text,
                finish_reason=written.reason,
                prompt_tokens=self._prompt_tokens,
                completion_tokens=self.generation.completion_tokens,
                token_ids=tuple(self.token_ids[self._prompt_tokens :]),
                logprobs=tuple(one for event in self.generation.events_from(0) for one in event.logprobs),
                prompt_logprobs=tuple(self._prompt_logprobs),
            )
            self.generation.finish(completion, now=now)
