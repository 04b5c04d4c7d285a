"""What a text says: how each next token is chosen, and what it adds to the text."""

from collections import deque
from dataclasses import dataclass

from inference.engine.detokenizer import Detokenizer
from inference.engine.generation import FinishReason
from inference.engine.grammar.constraint import Constraint
from inference.engine.logprobs import TokenLogprobs
from inference.engine.request import PreparedRequest
from inference.engine.sampler import Draw, Sampler
from inference.engine.scoring import token_logprobs
from inference.engine.tokenizer import Tokenizer
from inference.engine.top_k import Array


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a row of logits added to a text.

    Attributes:
        token_id: None if the grammar allows no more.
        piece: the characters that became final.
        reason: why the text ends here; None while it goes on.
        logprobs: those of the token, if the request asked for them.
    """

    token_id: int | None
    piece: str
    reason: FinishReason | None
    logprobs: tuple[TokenLogprobs, ...] = ()


class Writer:
    """Writes one text, token by token.

    Args:
        eos_ids: tokens that end a text.
        draw: draws from the distribution of a next token.

    Attributes:
        token_ids: prompt and generated tokens.
        constraint: holds the text to the request's grammar, if it has one.
    """

    def __init__(
        self, prepared: PreparedRequest, tokenizer: Tokenizer, *, eos_ids: frozenset[int], draw: Draw
    ) -> None:
        self.token_ids = list(prepared.prompt_ids)
        self._request = prepared.request
        self._prompt_tokens = prepared.prompt_tokens
        self._tokenizer = tokenizer
        own_ends = frozenset() if self._request.ignore_eos else eos_ids
        self._end_ids = own_ends.union(self._request.stop_token_ids)
        self.constraint = self._new_constraint(prepared)
        self._sampler = Sampler(self._request.sampling, prompt_tokens=self._prompt_tokens, draw=draw)
        self._detokenizer = self._new_detokenizer()
        self._forced: deque[int] = deque()  # taken by the constraint, and not yet by the text

    @property
    def text(self) -> str:
        """What has been generated so far."""
        return self._detokenizer.text

    @property
    def generated(self) -> int:
        """How many tokens have been generated."""
        return len(self.token_ids) - self._prompt_tokens

    @property
    def provisional(self) -> bool:
        """Whether the text may turn out not to fit once it is finished, and another one be written."""
        return self.constraint is not None and self.constraint.provisional

    @property
    def forced(self) -> tuple[int, ...]:
        """The tokens that the grammar forces and that `write` will add first."""
        return tuple(self._forced)

    def force(self) -> bool:
        """Put the next token into `forced` if the grammar allows no other; returns whether it did.

        Raises:
            NoFittingText: the grammar cannot be followed.
        """
        assert self.constraint is not None  # noqa: S101
        token_id = self.constraint.forced()
        if token_id is None:
            return False
        self.constraint.accept(token_id)
        self._forced.append(token_id)
        return True

    def write(self, row: Array | None) -> Written:
        """Add the next token, a forced one or by its logits.

        Args:
            row: the logits before it; a forced token does without them if no log-probabilities are wanted.

        Raises:
            GenerationFailed: the logits are not numbers.
            NoFittingText: the grammar cannot be followed.
        """
        if self._forced:
            token_id: int | None = self._forced.popleft()
            self._sampler.skip()
            ends = False
        else:
            assert row is not None  # noqa: S101
            token_id = self._choose(row)
            if token_id is None:
                return Written(token_id=None, piece=self._detokenizer.finish(), reason="stop")
            ends = token_id in self._end_ids and (self.constraint is None or self.constraint.may_end)
            if self.constraint is not None and not ends:
                self.constraint.accept(token_id)
        assert token_id is not None  # noqa: S101
        self.token_ids.append(token_id)
        piece = "" if ends else self._detokenizer.append(token_id)
        reason: FinishReason | None = "stop" if ends else self._end()
        if reason is not None:
            piece += self._detokenizer.finish()
            if self._detokenizer.stopped:
                reason = "stop"
        top = self._request.logprobs
        logprobs = () if row is None else self.logprobs(row[None], [token_id], top)
        return Written(token_id=token_id, piece=piece, reason=reason, logprobs=logprobs)

    def fits(self, *, cut: bool) -> bool:
        """Whether the finished text is what the grammar asks for.

        Args:
            cut: it ends at its limit of tokens, and may be incomplete.
        """
        return self.constraint is None or self.constraint.fits(self.text, cut=cut)

    def restart(self) -> None:
        """Begin another text, with the random numbers that follow those of this one."""
        self._forced.clear()
        if self.constraint is not None:
            self.constraint.restart()
        del self.token_ids[self._prompt_tokens :]
        self._detokenizer = self._new_detokenizer()

    def logprobs(self, logits: Array, token_ids: list[int], top: int | None) -> tuple[TokenLogprobs, ...]:
        """The log-probabilities of tokens, by the rows before them; none if `top` is None."""
        if top is None:
            return ()
        return tuple(token_logprobs(logits, token_ids, top=top, token_bytes=self._tokenizer.token_bytes))

    def _choose(self, row: Array) -> int | None:
        """The next token; None if the grammar allows no more."""
        if self.constraint is None:
            return self._sampler.choose(row, self.token_ids, forbidden=self._forbidden())
        allowed = self.constraint.allowed(may_end=self.generated >= self._request.min_tokens)
        return self._sampler.choose(row, self.token_ids, allowed=allowed) if allowed else None

    def _end(self) -> FinishReason | None:
        """Why the text ends after its last token, which is not an end token; None if it does not."""
        complete = self.constraint is not None and not self._forced and self.constraint.complete
        if self._detokenizer.stopped or complete:
            return "stop"
        return "length" if self.generated == self._request.max_new_tokens else None

    def _forbidden(self) -> frozenset[int]:
        return self._end_ids if self.generated < self._request.min_tokens else frozenset()

    def _new_constraint(self, prepared: PreparedRequest) -> Constraint | None:
        if prepared.grammar is None:
            return None
        stops = self._request.stop
        special = {self._tokenizer.special_ids[stop] for stop in stops if stop in self._tokenizer.special_ids}
        self._end_ids |= special
        return prepared.grammar.constraint(end_ids=self._end_ids, stops=bool(stops))

    def _new_detokenizer(self) -> Detokenizer:
        acceptor = None if self.constraint is None else self.constraint.acceptor
        return Detokenizer(
            self._tokenizer,
            tuple(self.token_ids[: self._prompt_tokens]),
            self._request.stop,
            min_tokens=self._request.min_tokens,
            may_end=None if acceptor is None else acceptor.may_end,
        )
