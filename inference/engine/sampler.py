"""Choosing the next token, as transformers' logits processors define it.

The order is that of `generate`: bias and penalties, temperature, top-k, top-p, min-p. Every request has its
own random number generator and draws one number per token, so its text depends on nothing but its seed. The
token is the first at which the probabilities, added up by ascending token id, exceed the number.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from inference.engine.errors import GenerationFailed
from inference.engine.penalties import Penalties
from inference.engine.request import SamplingParams
from inference.engine.token_set import TokenSet
from inference.engine.top_k import Array, largest

_GREEDY = SamplingParams(temperature=1.0, top_k=1)
"""With the number 0, the draw is the first of the highest logits."""


class Draw(Protocol):
    """Draws a token; `draw` is one, and the native kernels have a faster one."""

    def __call__(
        self, logits: Array, params: SamplingParams, number: float, allowed: TokenSet | None = None
    ) -> int | None:
        """Draw from the distribution that `params` define.

        Args:
            logits: float32, `[candidates]`, already penalised; not modified.
            number: the random number, at least 0 and below 1.
            allowed: of which logits, at least one; None draws of all.

        Returns:
            The index of the logit that was drawn, never one of minus infinity; None if the highest of those
            allowed is not a finite number.
        """
        ...


def draw(logits: Array, params: SamplingParams, number: float, allowed: TokenSet | None = None) -> int | None:
    """Draw a token with NumPy alone."""
    if allowed is not None:
        ids = allowed.ids
        index = draw(logits[ids], params, number)
        return None if index is None else int(ids[index])
    if not np.isfinite(logits.max()):  # a NaN counts as the highest of all
        return None
    candidates = distribution(logits, params)
    cumulative = candidates.probabilities.cumsum()
    index = int(cumulative.searchsorted(number * cumulative[-1], side="right"))
    if index == len(cumulative):  # rounding
        index = int(candidates.probabilities.nonzero()[0][-1])
    return int(candidates.tokens[index])


class Sampler:
    """Chooses the tokens of one request.

    Args:
        prompt_tokens: how many tokens its prompt has.
    """

    def __init__(self, params: SamplingParams, *, prompt_tokens: int, draw: Draw = draw) -> None:
        self.params = params
        self._draw = draw
        self._penalties = Penalties(params, prompt_tokens=prompt_tokens)
        # The standard library promises the same numbers for a seed in every later version.
        self._random = random.Random(params.seed % 2**64)  # noqa: S311

    def choose(
        self,
        logits: Array,
        history: list[int],
        *,
        forbidden: Collection[int] = (),
        allowed: TokenSet | None = None,
    ) -> int:
        """Choose the next token.

        Args:
            logits: float32, `[vocabulary]`, after the last token; not modified.
            history: all tokens so far, including the prompt's.
            forbidden: tokens that must not come next.
            allowed: which tokens may come next, at least one; None allows all.

        Raises:
            GenerationFailed: the highest logit is not a finite number.
        """
        logits = self._penalties.apply(logits, history, forbidden=forbidden)
        if self.params.do_sample:
            index = self._draw(logits, self.params, self._random.random(), allowed)
        elif allowed is not None:
            index = self._draw(logits, _GREEDY, 0.0, allowed)
        else:
            highest = int(logits.argmax())
            index = highest if np.isfinite(logits[highest]) else None
        if index is None:
            raise GenerationFailed("The model produced logits that are not finite numbers.")
        return index

    def skip(self) -> None:
        """Draw what `choose` would for a token that has no alternative."""
        if self.params.do_sample:
            self._random.random()


@dataclass(frozen=True)
class Candidates:
    """The tokens that may be drawn, in ascending order, and their probabilities, which add up to 1."""

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
        nucleus = _nucleus(probabilities, params.top_p)
        tokens, probabilities = tokens[nucleus], _softmax(logits[nucleus], params.temperature)
    if params.min_p > 0.0:
        likely = probabilities >= params.min_p * probabilities.max()
        tokens, probabilities = tokens[likely], probabilities[likely] / probabilities[likely].sum()
    return Candidates(tokens, probabilities)


def _nucleus(probabilities: Array, top_p: float) -> Array:
    """The indices, ascending, of the tokens before which less than `top_p` comes in descending order.

    Of tokens that are equally likely, those with the lower index come first.
    """
    # Tokens below this probability are dropped even if all of them are, so they need no sorting.
    likely = np.flatnonzero(probabilities >= min((1 - top_p) / len(probabilities), probabilities.max()))
    descending = likely[(-probabilities[likely]).argsort(kind="stable")]
    before = probabilities[descending].cumsum() - probabilities[descending]
    before[0] = 0.0
    nucleus: Array = np.sort(descending[: max(1, int((before < top_p).sum()))])
    return nucleus


def _softmax(logits: Array, temperature: float) -> Array:
    weights: Array = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    weights /= weights.sum()
    return weights
