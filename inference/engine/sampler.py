"""The choice of the next token, as transformers' logits processors define it.

Order as in `generate`: repetition penalty, temperature, top-k, top-p. Every request draws from random numbers
of its own, one a token, so its text depends on nothing but its seed.
"""

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from inference.engine.errors import GenerationFailed
from inference.engine.request import SamplingParams

_BLOCK = 64

Array = np.ndarray[Any, np.dtype[Any]]


class Sampler:
    """Chooses the tokens of one request."""

    def __init__(self, params: SamplingParams) -> None:
        self.params = params
        # The standard library promises the same numbers for a seed in every later version.
        self._random = random.Random(params.seed)  # noqa: S311

    def choose(self, logits: torch.Tensor, history: list[int]) -> int:
        """The next token.

        Args:
            logits: `[vocabulary]`, of the last token; left as they are.
            history: all tokens so far, the prompt's too.

        Raises:
            GenerationFailed: the logits are not numbers.
        """
        if self.params.repetition_penalty != 1.0:
            logits = penalise(logits, history, self.params.repetition_penalty)
        scores: Array = logits.numpy()
        highest = int(scores.argmax())  # a NaN counts as the highest of all
        if not np.isfinite(scores[highest]):
            raise GenerationFailed("The model computed no finite number for this text.")
        if not self.params.do_sample:
            return highest
        candidates = distribution(scores, self.params)
        cumulative = candidates.probabilities.cumsum()
        index = int(cumulative.searchsorted(self._random.random() * cumulative[-1], side="right"))
        return int(candidates.tokens[min(index, len(cumulative) - 1)])


@dataclass(frozen=True)
class Candidates:
    """The tokens that may be drawn, and their probabilities, which add up to 1."""

    tokens: Array
    probabilities: Array


def distribution(scores: Array, params: SamplingParams) -> Candidates:
    """What `params` make of finite logits, `[vocabulary]`, the repetition penalty already applied."""
    if 0 < params.top_k < len(scores):
        tokens = _largest(scores, params.top_k)
        scores = scores[tokens]
    else:
        tokens = np.arange(len(scores))
    probabilities = _softmax(scores, params.temperature)
    if params.top_p < 1.0:
        # Tokens this unlikely are dropped even if all are; most of the vocabulary needs no sorting.
        likely = np.flatnonzero(probabilities > (1 - params.top_p) / len(probabilities))
        ascending = likely[probabilities[likely].argsort()]
        dropped = 1 - probabilities[ascending].sum()
        kept = ascending[dropped + probabilities[ascending].cumsum() > 1 - params.top_p]
        kept = kept if len(kept) else np.array([probabilities.argmax()])
        tokens, probabilities = tokens[kept], _softmax(scores[kept], params.temperature)
    return Candidates(tokens, probabilities)


def _softmax(scores: Array, temperature: float) -> Array:
    weights: Array = np.exp((scores.astype(np.float64) - scores.max()) / temperature)
    weights /= weights.sum()
    return weights


def _largest(scores: Array, count: int) -> Array:
    """Where the `count` largest scores are, and all that tie with the last of them, as in TopKLogitsWarper.

    They can only be in blocks of the vocabulary whose maximum is among the `count` largest maxima.
    """
    blocks = len(scores) // _BLOCK
    if blocks <= count:
        return _at_least(scores, count)
    body = scores[: blocks * _BLOCK].reshape(blocks, _BLOCK)
    chosen = _at_least(body.max(axis=1), count)
    places = np.concatenate(
        ((chosen[:, None] * _BLOCK + np.arange(_BLOCK)).ravel(), np.arange(blocks * _BLOCK, len(scores)))
    )
    return places[_at_least(scores[places], count)]


def _at_least(scores: Array, count: int) -> Array:
    """Where the `count` largest are, and those that equal the least of them."""
    return np.flatnonzero(scores >= np.partition(scores, -count)[-count])


def penalise(logits: torch.Tensor, history: list[int], penalty: float) -> torch.Tensor:
    """Logits with those of tokens in `history` made smaller (Keskar et al., 2019, CTRL)."""
    seen = torch.tensor(history)
    scores = logits[seen]
    scores = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits.scatter(0, seen, scores)
