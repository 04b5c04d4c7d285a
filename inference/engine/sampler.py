"""Choosing the next token, as transformers' logits processors define it.

The order is that of `generate`: bias and penalties, temperature, top-k, top-p, min-p. Every request has its
own random number generator and draws one number per token, so its text depends on nothing but its seed.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from inference.engine.errors import GenerationFailed
from inference.engine.penalties import Penalties
from inference.engine.request import SamplingParams
from inference.engine.top_k import Array, largest


class Sampler:
    """Chooses the tokens of one request, whose prompt has `prompt_tokens`."""

    def __init__(self, params: SamplingParams, *, prompt_tokens: int) -> None:
        self.params = params
        self._penalties = Penalties(params, prompt_tokens=prompt_tokens)
        # The standard library promises the same numbers for a seed in every later version.
        self._random = random.Random(params.seed % 2**64)  # noqa: S311

    def choose(
        self,
        logits: Array,
        history: list[int],
        *,
        forbidden: Collection[int] = (),
        allowed: Array | None = None,
    ) -> int:
        """Choose the next token.

        Args:
            logits: float32, `[vocabulary]`, after the last token; not modified.
            history: all tokens so far, including the prompt's.
            forbidden: tokens that must not come next.
            allowed: which tokens may come next, `[vocabulary]`, at least one; None allows all.

        Raises:
            GenerationFailed: the highest logit is not a finite number.
        """
        logits = self._penalties.apply(logits, history, forbidden=forbidden)
        ids: Array | None = None
        if allowed is not None and 2 * np.count_nonzero(allowed) < len(allowed):
            ids = allowed.nonzero()[0]
            logits = logits[ids]  # the others have no probability at all
        elif allowed is not None:
            logits = logits.copy()  # faster than to gather nearly all of them
            logits[~allowed] = -np.inf
        highest = int(logits.argmax())  # a NaN counts as the highest of all
        if not np.isfinite(logits[highest]):
            raise GenerationFailed("The model produced logits that are not finite numbers.")
        token = self._draw(logits) if self.params.do_sample else highest
        return token if ids is None else int(ids[token])

    def _draw(self, logits: Array) -> int:
        """The index of one of these logits, drawn by their probabilities."""
        candidates = distribution(logits, self.params)
        cumulative = candidates.probabilities.cumsum()
        index = int(cumulative.searchsorted(self._random.random() * cumulative[-1], side="right"))
        if index == len(cumulative):  # rounding
            index = int(candidates.probabilities.nonzero()[0][-1])
        return int(candidates.tokens[index])

    def skip(self) -> None:
        """Draw what `choose` would for a token that has no alternative."""
        if self.params.do_sample:
            self._random.random()


@dataclass(frozen=True)
class Candidates:
    """The tokens that may be drawn, and their probabilities, which add up to 1."""

    tokens: Array
    probabilities: Array


def distribution(logits: Array, params: SamplingParams) -> Candidates:
    """The distribution that `params` define over finite logits, `[vocabulary]`, already penalised."""
    if 0 < params.top_k < len(logits):
        tokens = largest(logits, params.top_k)
        logits = logits[tokens]
    else:
        tokens = np.arange(len(logits))
    probabilities = _softmax(logits, params.temperature)
    if params.top_p < 1.0:
        # Tokens below this probability are dropped even if all of them are, so they need no sorting.
        likely = np.flatnonzero(probabilities > (1 - params.top_p) / len(probabilities))
        ascending = likely[probabilities[likely].argsort()]
        dropped = 1 - probabilities[ascending].sum()
        kept = ascending[dropped + probabilities[ascending].cumsum() > 1 - params.top_p]
        kept = kept if len(kept) else np.array([probabilities.argmax()])
        tokens, probabilities = tokens[kept], _softmax(logits[kept], params.temperature)
    if params.min_p > 0.0:
        likely = probabilities >= params.min_p * probabilities.max()
        tokens, probabilities = tokens[likely], probabilities[likely] / probabilities[likely].sum()
    return Candidates(tokens, probabilities)


def _softmax(logits: Array, temperature: float) -> Array:
    weights: Array = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    weights /= weights.sum()
    return weights
