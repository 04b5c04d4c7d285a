"""The log-probabilities of tokens by the logits that predict them."""

from collections.abc import Callable, Sequence

import numpy as np

from inference.engine.errors import GenerationFailed
from inference.engine.logprobs import TokenLogprob, TokenLogprobs
from inference.engine.top_k import Array, ranked


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
