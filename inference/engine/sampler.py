"""The choice of the next token, as transformers' logits processors define it.

Order as in `generate`: repetition penalty, temperature, top-k, top-p. Every request draws from random numbers
of its own, one a token, so its text depends on nothing but its seed.
"""

import random

import torch

from inference.engine.errors import GenerationFailed
from inference.engine.request import SamplingParams


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
        if not bool(torch.isfinite(logits).all()):
            raise GenerationFailed("The model computed no finite number for this text.")
        if self.params.repetition_penalty != 1.0:
            logits = penalise(logits, history, self.params.repetition_penalty)
        if not self.params.do_sample:
            return int(logits.argmax())
        tokens, probabilities = distribution(logits, self.params)
        cumulative = probabilities.double().cumsum(0)
        drawn = torch.tensor(self._random.random(), dtype=torch.float64) * cumulative[-1]
        index = int(torch.searchsorted(cumulative, drawn, right=True))
        return int(tokens[min(index, len(tokens) - 1)])


def distribution(logits: torch.Tensor, params: SamplingParams) -> tuple[torch.Tensor, torch.Tensor]:
    """The tokens that may be drawn, and their probabilities; both `[candidates]`, which add up to 1.

    Args:
        logits: `[vocabulary]`, the repetition penalty already applied.
    """
    scores = logits / params.temperature
    tokens = torch.arange(len(scores))
    if 0 < params.top_k < len(scores):
        # As in TopKLogitsWarper, all that tie with the k-th stay.
        tokens = (scores >= scores.topk(params.top_k).values[-1]).nonzero()[:, 0]
        scores = scores[tokens]
    if params.top_p < 1.0:
        ascending, order = scores.sort(stable=True)
        kept = ascending.softmax(0).cumsum(0) > 1 - params.top_p
        kept[-1] = True
        tokens, scores = tokens[order[kept]], ascending[kept]
    return tokens, scores.softmax(0)


def penalise(logits: torch.Tensor, history: list[int], penalty: float) -> torch.Tensor:
    """Logits with those of tokens in `history` made smaller (Keskar et al., 2019, CTRL)."""
    seen = torch.tensor(history)
    scores = logits[seen]
    scores = torch.where(scores < 0, scores * penalty, scores / penalty)
    return logits.scatter(0, seen, scores)
