"""One request inside the engine: how far it is, and what each new token does to it."""

from inference.engine.detokenizer import Detokenizer
from inference.engine.errors import EngineError
from inference.engine.request import Completion, FinishReason, Generation
from inference.engine.sampler import Array, Sampler
from inference.engine.segment import TILE, Segment
from inference.engine.slots import Slots
from inference.engine.vocabulary import Vocabulary


class Sequence:
    """The state of a request from its submission to its end.

    Args:
        generation: the client's end.
        eos_ids: tokens that end a text.
        now: the time, on the engine's clock.

    Attributes:
        token_ids: prompt and generated tokens.
        slots: its places of the KV cache, while it runs.
        started_at: when it was given them.
        finished: its last token has been chosen, or it has failed.
    """

    def __init__(
        self,
        generation: Generation,
        vocabulary: Vocabulary,
        *,
        eos_ids: frozenset[int],
        now: float,
    ) -> None:
        self.generation = generation
        self.request = generation.request
        self.token_ids = list(self.request.prompt_ids)
        self.slots: Slots | None = None
        self.submitted_at = now
        self.started_at: float | None = None
        self.deadline = None if self.request.timeout_s is None else now + self.request.timeout_s
        self.finished = False
        self._computed = 0
        self._eos_ids = eos_ids
        self._sampler = Sampler(self.request.sampling)
        self._detokenizer = Detokenizer(vocabulary, self.request.prompt_ids, self.request.stop)

    @property
    def needed_tokens(self) -> int:
        """Places of the KV cache that it takes at the most."""
        return len(self.request.prompt_ids) + self.request.max_new_tokens

    @property
    def prefilling(self) -> bool:
        """Its prompt is not computed yet."""
        return self._computed < len(self.request.prompt_ids)

    def next_segment(self, most: int) -> Segment:
        """The next tokens to compute: `most` at the most, cut where attention's blocks are cut."""
        assert self.slots is not None  # noqa: S101
        end = len(self.token_ids)
        if end - self._computed > most:
            end = max((self._computed + most) // TILE, self._computed // TILE + 1) * TILE
        return Segment(self.token_ids[self._computed : end], self._computed, self.slots)

    def advance(self, segment: Segment, logits: Array, *, now: float) -> None:
        """`segment` has been computed; `logits`, `[vocabulary]`, are those after its last token.

        Raises:
            GenerationFailed: the logits are not numbers.
        """
        computed = segment.start + len(segment.token_ids)
        if computed < len(self.token_ids):
            self._computed = computed
            return
        token_id = self._sampler.choose(logits, self.token_ids)
        self._computed = computed
        self.token_ids.append(token_id)
        generated = len(self.token_ids) - len(self.request.prompt_ids)
        piece = ""
        reason: FinishReason | None = None
        if token_id in self._eos_ids:
            reason = "stop"
        else:
            piece = self._detokenizer.append(token_id)
            if self._detokenizer.stopped:
                reason = "stop"
            elif generated == self.request.max_new_tokens:
                reason = "length"
        if reason is not None:
            piece += self._detokenizer.finish()
        self.generation.publish(piece, completion_tokens=generated)
        if reason is not None:
            self._complete("stop" if self._detokenizer.stopped else reason, now=now)

    def fail(self, error: EngineError) -> None:
        """End it without a completion."""
        self.finished = True
        self.generation.finish(error)

    def _complete(self, reason: FinishReason, *, now: float) -> None:
        started_at = now if self.started_at is None else self.started_at
        self.finished = True
        self.generation.finish(
            Completion(
                text=self._detokenizer.text,
                finish_reason=reason,
                prompt_tokens=len(self.request.prompt_ids),
                completion_tokens=self.generation.completion_tokens,
                queued_s=started_at - self.submitted_at,
                generated_s=now - started_at,
            )
        )
