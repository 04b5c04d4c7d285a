"""Log-probabilities of tokens, as the model gives them before temperature and penalties."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from inference.engine.errors import GenerationFailed
from inference.engine.top_k import Array, ranked

MOST_ALTERNATIVES = 20
"""The most alternatives that a request may ask for at each token."""


def token_text(token: bytes) -> str:
    r"""A token as a string; as OpenAI writes it, `bytes:\xf0\x9f`, if it is not whole characters."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token, its exact bytes, and its log-probability.

    The bytes need not be whole characters. A log-probability may be minus infinity.
    """

    token_id: int
    token: bytes
    logprob: float

    @property
    def text(self) -> str:
        """The token as a string."""
        return token_text(self.token)


@dataclass(frozen=True, slots=True)
class TokenLogprobs(TokenLogprob):
    """A token of a text, and the most likely tokens at its place.

    Attributes:
        greedy: no token is more likely, and none that is as likely has a lower id: greedy decoding takes it.
        top: as many as were asked for, the most likely first; the token itself may be missing.
    """

    greedy: bool
    top: tuple[TokenLogprob, ...]


def token_logprobs(
    logits: Array, token_ids: Sequence[int], *, top: int, token_bytes: Callable[[int], bytes]
) -> list[TokenLogprobs]:
    """The log-probabilities of tokens by the logits that predict them.

    The value of the token and those of the alternatives come from one computation, so they are equal to the
    last bit where they are of the same token.

    Args:
        logits: float32, `[len(token_ids), vocabulary]`; not modified.
        token_ids: the token that each row predicted.
        top: how many alternatives.
        token_bytes: the exact bytes of a token.

    Raises:
        GenerationFailed: the highest logit of a row is not a finite number.
    """
    return [_of_row(row, i, top, token_bytes) for row, i in zip(logits, token_ids, strict=True)]


def _of_row(row: Array, token_id: int, top: int, token_bytes: Callable[[int], bytes]) -> TokenLogprobs:
    highest = row.max()  # NaN if there is one
    if not np.isfinite(highest):
        raise GenerationFailed("The model produced logits that are not finite numbers.")
    # Summed in 64 bits: half a unit in the last place of a float32 is then all the error.
    normaliser = np.float64(highest) + np.log(np.exp(row - highest).sum(dtype=np.float64))

    def logprob(index: int) -> float:
        return float(np.float32(row[index] - normaliser))

    return TokenLogprobs(
        token_id,
        token_bytes(token_id),
        logprob(token_id),
        greedy=int(row.argmax()) == token_id,
        top=tuple(TokenLogprob(i, token_bytes(i), logprob(i)) for i in ranked(row, top).tolist())
        if top
        else (),
    )
