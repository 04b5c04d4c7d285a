"""One text on its way through a grammar: which tokens may come next, and where it may end."""

import time
from collections.abc import Sequence

from llguidance import LLExecutor, LLMatcher

from inference.engine.errors import NoFittingText
from inference.engine.grammar.calls_check import CallsCheck
from inference.engine.grammar.check import SchemaCheck
from inference.engine.grammar.effort import Effort
from inference.engine.grammar.finite import in_string, number_at_end
from inference.engine.grammar.masks import Mask
from inference.engine.grammar.tokens import TokenTable
from inference.engine.token_set import TokenSet

_effort = Effort()
_LONGEST_TOKEN_S = 0.25
"""Following one token takes microseconds. Where it takes this long, the next one may take for ever."""
_ALONE_S = 0.0005
"""Most masks take microseconds: to wake threads for those of a step takes about as long as they do."""


class Constraint:
    """Holds one text to a grammar.

    Args:
        matcher: at the beginning of a text, for this one alone.
        end_ids: tokens that end the text, where the grammar allows an end.
        check: has the last word on a finished text.
        control_id: a special token that may come where the grammar names it.
        provisional: a finished text may well fail the check.

    Attributes:
        may_end: whether one of `end_ids` ends the text at the place that `allowed` was last asked about.
            Elsewhere it is a token as any other.
    """

    def __init__(
        self,
        matcher: LLMatcher,
        table: TokenTable,
        *,
        end_ids: frozenset[int],
        acceptor: "Acceptor | None" = None,
        check: SchemaCheck | CallsCheck | None = None,
        control_id: int | None = None,
        provisional: bool = False,
    ) -> None:
        self.provisional = provisional
        self.may_end = False
        self.acceptor = acceptor
        self._matcher = matcher
        self._table = table
        self._ends = table.token_set(end_ids)
        self._check = check
        self._control_id = control_id
        self._calls_begun = False
        self._text = bytearray()
        self._mask: Mask | None = None

    @property
    def complete(self) -> bool:
        """Whether the text must end here."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def allowed(self, *, may_end: bool) -> TokenSet:
        """Which tokens may come next; none if the text must end here.

        Args:
            may_end: the request allows its text to end here, where the grammar does.

        Raises:
            NoFittingText: the grammar is too complex to follow any further.
        """
        mask = self._mask or self.compute_mask()
        self._refuse_errors()
        self.may_end = mask.ends and may_end
        tokens = mask.tokens
        if overflowing := self._overflowing():
            tokens -= self._table.token_set(overflowing)
        if self.may_end and tokens:
            return tokens | self._ends
        if not mask.ends and not tokens:
            raise NoFittingText("No token of this model can continue the text as its grammar demands.")
        return tokens

    @property
    def has_mask(self) -> bool:
        """Whether the mask of the next token has been computed."""
        return self._mask is not None

    def forced(self) -> int | None:
        """The next token where it has no alternative, not even an end; its mask must have been computed.

        llguidance's own search for forced tokens takes minutes for a long literal.
        """
        assert self._mask is not None  # noqa: S101
        token_id = self._mask.only
        return None if token_id == self._control_id else token_id

    def compute_mask(self) -> Mask:
        """Compute the mask of the next token in this thread."""
        raw = self._table.new_masks(1)
        self._matcher.unsafe_compute_mask_ptr(raw.ctypes.data, raw.nbytes)
        [self._mask] = self._table.read(raw, [self._control_id])
        return self._mask

    def accept(self, token_id: int) -> None:
        """Take the next token, one of those that are allowed and does not end the text.

        Raises:
            NoFittingText: the grammar is too complex to follow any further.
        """
        self._mask = None
        _effort.begin()
        followed = self._matcher.consume_token(token_id)
        if not followed or _effort.exceeds(_LONGEST_TOKEN_S):
            raise NoFittingText("The grammar is too complex to follow this text any further.")
        if token_id != self._control_id:
            self._text += self._table.tokens[token_id]
        else:
            self._calls_begun = True
            if self.acceptor is not None:
                self.acceptor.refuse_ends()

    def fits(self, text: str, *, cut: bool = False) -> bool:
        """Whether a finished text is what was asked for.

        Args:
            cut: it is only the beginning of one, of which a client reads the complete calls.

        Raises:
            NoFittingText: it takes too long to find out.
        """
        match self._check:
            case None:
                return True
            case CallsCheck() as check:
                return check.fits(text, calls_begun=self._calls_begun, cut=cut)
            case check:
                return cut or check.fits(text)

    def restart(self) -> None:
        """Begin another text."""
        self._mask = None
        self._calls_begun = False
        self._text = bytearray()
        self._matcher.reset()
        if self.acceptor is not None:
            self.acceptor.restart()

    def _overflowing(self) -> list[int]:
        """The tokens that would make a number in JSON larger than any that a client can read."""
        if self._check is None:
            return []
        overflows = self._table.overflows
        number = number_at_end(self._text)
        after = overflows.after(number) if number else []
        if not overflows.alone and not after:
            return []
        return [*overflows.alone, *after] if self._continues_json(number) else []

    def _continues_json(self, number: str) -> bool:
        """Whether the text so far ends within JSON, outside its strings, with this number or none."""
        json_text: str | None = self._text.decode(errors="replace")
        if isinstance(self._check, CallsCheck):
            json_text = self._check.json_at_end(json_text or "", calls_begun=self._calls_begun)
        return json_text is not None and json_text.endswith(number) and not in_string(json_text)

    def _refuse_errors(self) -> None:
        if self._matcher.is_error():
            raise NoFittingText("The grammar is too complex to follow this text any further.")


class Acceptor:
    """Follows a text by its bytes, to tell where a stop string may end it."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher
        self._length = 0
        self._refuses = False

    def may_end(self, text: str) -> bool:
        """Whether the text is complete; each one asked about continues the one before."""
        if self._refuses:
            return False
        added = text[self._length :]
        self._length = len(text)
        if added and not self._matcher.consume_tokens(list(added.encode())):
            self._refuses = True
            return False
        return bool(self._matcher.is_accepting())

    def refuse_ends(self) -> None:
        """From here on the text is complete only where nothing may follow, which the tokens tell."""
        self._refuses = True

    def restart(self) -> None:
        """Begin another text."""
        self._matcher.reset()
        self._length = 0
        self._refuses = False


class Masks:
    """Computes the masks of a step, and shares those that take long with threads outside Python's lock."""

    def __init__(self, table: TokenTable, *, threads: int) -> None:
        self._table = table
        self._executor = LLExecutor(threads)

    def compute(self, constraints: Sequence[Constraint]) -> None:
        """Compute the mask of each one's next token."""
        masks = self._table.new_masks(len(constraints))
        address, size = masks.ctypes.data, masks[0].nbytes
        until_s = time.perf_counter() + _ALONE_S
        for row, constraint in enumerate(constraints):
            if time.perf_counter() > until_s:
                others = [(one._matcher, row + later) for later, one in enumerate(constraints[row:])]
                self._executor.unsafe_compute_mask_ptr(others, address, size, len(masks))
                break
            constraint._matcher.unsafe_compute_mask_ptr(address + row * size, size)
        read = self._table.read(masks, [constraint._control_id for constraint in constraints])
        for constraint, mask in zip(constraints, read, strict=True):
            constraint._mask = mask
