"""Log-probabilities in the forms of OpenAI's two endpoints."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from inference.api.openai.text_offsets import TextOffsets
from inference.engine.backend import Backend
from inference.engine.generation import Event
from inference.engine.logprobs import TokenLogprob, TokenLogprobs, token_text

LEAST = -9999.0
"""Stands for minus infinity, which JSON does not have, as in OpenAI's API."""
MAX_LOGPROBS = 2**18
"""What one answer may have: about a hundred megabytes while it is made."""


def check_size(*parts: tuple[int | None, int], field: str = "logprobs") -> None:
    """Refuse an answer that would be too large.

    Args:
        parts: of the answer: the alternatives at each token, None without log-probabilities; and the tokens.
        field: what asks for them.

    Raises:
        ValidationError: all together have too many log-probabilities.
    """
    count = sum(tokens * (1 + alternatives) for alternatives, tokens in parts if alternatives is not None)
    if count > MAX_LOGPROBS:
        raise serializers.ValidationError(
            {
                field: f"The answer may have {count} log-probabilities, and at most {MAX_LOGPROBS} are "
                "possible: ask for fewer alternatives, tokens or texts."
            }
        )


def value(logprob: float) -> float:
    return max(logprob, LEAST)


class CompletionLogprobs:
    """Those of a completion: four lists, and the offset of each token in the text.

    Args:
        alternatives: how many there are at each token.
        prompt_text: the prompt, if the text begins with it.
        first_token: the id of the prompt's first token, which has no log-probability.
    """

    def __init__(
        self, backend: Backend, *, alternatives: int, prompt_text: str = "", first_token: int = 0
    ) -> None:
        self._backend = backend
        self._alternatives = alternatives
        self._offsets = TextOffsets(backend, prompt_text)
        self._first_token = first_token

    def of(
        self, prompt: Sequence[TokenLogprobs | None], new: Sequence[TokenLogprobs]
    ) -> dict[str, list[Any]] | None:
        """The next tokens'; None if there are none."""
        if not prompt and not new:
            return None
        offsets = [self._offset(token) for token in prompt]
        if prompt:
            self._offsets.skip_known_text()
        offsets += [self._offset(token) for token in new]
        tokens = [*prompt, *new]
        first_text = token_text(self._backend.token_bytes(self._first_token))
        return {
            "tokens": [first_text if token is None else token.text for token in tokens],
            "token_logprobs": [None if token is None else value(token.logprob) for token in tokens],
            "top_logprobs": [None if token is None else self._by_text(token) for token in tokens],
            "text_offset": offsets,
        }

    def _offset(self, token: TokenLogprob | None) -> int:
        if token is None:
            return self._offsets.of(self._first_token, self._backend.token_bytes(self._first_token))
        return self._offsets.of(token.token_id, token.token)

    def _by_text(self, token: TokenLogprobs) -> dict[str, float]:
        """The most likely tokens and the chosen one; of tokens with the same text, the most likely."""
        found: dict[str, float] = {}
        for one in (*token.top[: self._alternatives], token):
            found.setdefault(one.text, value(one.logprob))
        return found


def prompt_logprobs(
    tokens: Sequence[TokenLogprobs | None], alternatives: int
) -> list[dict[str, dict[str, Any]] | None]:
    """Those of a prompt in vLLM's form: at each place the prompt's token and the most likely ones, by id.

    The rank of a token that is not among the most likely is unknown, so null.
    """
    return [None if token is None else _by_id(token, alternatives) for token in tokens]


def _by_id(token: TokenLogprobs, alternatives: int) -> dict[str, dict[str, Any]]:
    ranks = {one.token_id: rank for rank, one in enumerate(token.top, 1)}
    if token.greedy:
        ranks[token.token_id] = 1
    return {
        str(one.token_id): {
            "logprob": value(one.logprob),
            "rank": ranks.get(one.token_id),
            "decoded_token": one.text,
        }
        for one in (token, *token.top[:alternatives])
    }


class ChatLogprobs:
    """Those of a message's tokens: each comes with the text that it begins.

    What ends the text, such as the model's end token, is no part of the content.
    """

    def __init__(self, backend: Backend) -> None:
        self._offsets = TextOffsets(backend)
        self._waiting: deque[tuple[int, TokenLogprobs]] = deque()
        self._shown = 0

    def of(self, event: Event) -> dict[str, Any]:
        """Those of the tokens that begin in the text so far and were not returned before."""
        self._shown += len(event.text)
        self._waiting += [(self._offsets.of(token.token_id, token.token), token) for token in event.logprobs]
        content = []
        while self._waiting and (self._waiting[0][0] < self._shown or event.finish_reason == "length"):
            _, token = self._waiting.popleft()
            content.append({**_entry(token), "top_logprobs": [_entry(one) for one in token.top]})
        return {"content": content, "refusal": None}


def _entry(token: TokenLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": value(token.logprob), "bytes": list(token.token)}
