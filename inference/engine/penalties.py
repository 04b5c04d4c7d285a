"""What a request changes about the logits before the next token is drawn from them."""

from collections.abc import Collection

import numpy as np

from inference.engine.request import SamplingParams
from inference.engine.top_k import Array


class Penalties:
    """The bias and the penalties of one request, in the order of transformers and vLLM.

    `repetition_penalty` counts the prompt's tokens too (Keskar et al., 2019, CTRL). `presence_penalty` and
    `frequency_penalty` count generated tokens alone, as OpenAI defines them.

    Args:
        prompt_tokens: how many tokens of a history are the prompt's.
    """

    def __init__(self, params: SamplingParams, *, prompt_tokens: int) -> None:
        self._params = params
        self._prompt_tokens = prompt_tokens
        self._biased = np.array([token_id for token_id, _ in params.logit_bias], dtype=np.int64)
        self._bias = np.array([bias for _, bias in params.logit_bias], dtype=np.float32)
        self._counts_generated = bool(params.presence_penalty or params.frequency_penalty)

    def apply(self, logits: Array, history: list[int], *, forbidden: Collection[int] = ()) -> Array:
        """Return the changed logits; those given are not modified, and returned if nothing changes them.

        Args:
            logits: float32, `[vocabulary]`.
            history: all tokens so far, including the prompt's.
            forbidden: tokens that must not come next.
        """
        changed = logits
        if len(self._biased):
            changed = logits.copy()
            np.add.at(changed, self._biased, self._bias)
        if self._params.repetition_penalty != 1.0:
            changed = _penalise_repetition(changed, history, self._params.repetition_penalty)
        if self._counts_generated and len(history) > self._prompt_tokens:
            changed = changed.copy() if changed is logits else changed
            tokens, counts = np.unique(history[self._prompt_tokens :], return_counts=True)
            penalty = self._params.frequency_penalty * counts + self._params.presence_penalty
            changed[tokens] -= penalty.astype(np.float32)
        if forbidden:
            changed = changed.copy() if changed is logits else changed
            changed[list(forbidden)] = -np.inf
        return changed


def _penalise_repetition(logits: Array, history: list[int], penalty: float) -> Array:
    seen = np.array(history)
    scores = logits[seen]
    penalised = logits.copy()
    penalised[seen] = np.where(scores < 0, scores * penalty, scores / penalty)
    return penalised
