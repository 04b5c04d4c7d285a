"""Log-probabilities in the forms of OpenAI's two endpoints."""

from collections.abc import Sequence
from typing import Any

from inference.engine.logprobs import TokenLogprob, TokenLogprobs

LEAST = -9999.0
"""Stands for minus infinity, which JSON does not have, as in OpenAI's API."""


def value(logprob: float) -> float:
    return max(logprob, LEAST)


class CompletionLogprobs:
    """Those of a completion: four lists, and the offset of each token in the text so far.

    Args:
        prompt_text: the prompt, whose first token has no log-probability.
    """

    def __init__(self, prompt_text: str) -> None:
        self._prompt_text = prompt_text
        self._offset = 0

    def of(
        self, prompt: Sequence[TokenLogprobs | None], new: Sequence[TokenLogprobs]
    ) -> dict[str, list[Any]] | None:
        """The next tokens'; None if there are none."""
        tokens = [*prompt, *new]
        if not tokens:
            return None
        rest = "".join(token.text for token in prompt if token is not None)
        texts = [self._prompt_text.removesuffix(rest) if token is None else token.text for token in tokens]
        offsets = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [None if token is None else value(token.logprob) for token in tokens],
            "top_logprobs": [None if token is None else _by_text(token) for token in tokens],
            "text_offset": offsets,
        }


def _by_text(token: TokenLogprobs) -> dict[str, float]:
    """The most likely tokens and the chosen one; of tokens with the same text, the most likely."""
    found: dict[str, float] = {}
    for one in (*token.top, token):
        found.setdefault(one.text, value(one.logprob))
    return found


def chat_logprobs(tokens: Sequence[TokenLogprobs]) -> dict[str, Any]:
    """Those of a message's tokens."""
    content = [{**_entry(token), "top_logprobs": [_entry(one) for one in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def _entry(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": value(token.logprob), "bytes": list(token.token)}
