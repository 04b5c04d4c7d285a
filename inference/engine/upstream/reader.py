"""One streamed answer of the upstream engine, as the events of a generation."""

from collections.abc import Mapping
from typing import Any

from inference.engine.errors import GenerationFailed
from inference.engine.generation import Completion, Event, FinishReason
from inference.engine.logprobs import TokenLogprobs
from inference.engine.upstream import logprobs
from inference.engine.upstream.answers import UNREADABLE
from inference.engine.upstream.dialect import Dialect
from inference.engine.upstream.tool_text import ToolText

_MOST_TOKENS = 2**31
"""Accounts hold the sum of many such counts."""


class AnswerReader:
    """Reads the chunks of one choice, and counts its tokens.

    Attributes:
        prompt_tokens: as the engine has reported it; None until it does.
        completion_tokens: as reported, or what the chunks have shown so far.
        finish_reason: None while the text goes on.
        text: what has come so far.
        exact: the engine has counted or named the tokens; otherwise a chunk is taken for one.
    """

    def __init__(self, dialect: Dialect, *, chat: bool) -> None:
        self.prompt_tokens: int | None = None
        self.completion_tokens = 0
        self.finish_reason: FinishReason | None = None
        self.text = ""
        self.exact = False
        self._chat = chat
        self._named = dialect.token_ids
        self._usage_in_chunks = dialect.usage_in_chunks
        self._tools = ToolText()
        self._token_ids: list[int] = []
        self._logprobs: list[TokenLogprobs] = []

    def feed(self, chunk: Mapping[str, Any]) -> Event | None:
        """What the chunk adds; None if that is nothing.

        Raises:
            GenerationFailed: the chunk is not in the form of OpenAI's API.
        """
        try:
            return self._read(chunk)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise GenerationFailed(UNREADABLE) from error

    def last_event(self) -> Event:
        """The event after all chunks: why the text ends, and the tokens that only the usage has told of."""
        text = self._tools.finish()
        self.text += text
        return Event(text=text, token_ids=(), finish_reason=self.finish_reason or "stop")

    def completion(self, *, prompt_tokens: int) -> Completion:
        """The finished text, after `last_event`."""
        return Completion(
            text=self.text,
            finish_reason=self.finish_reason or "stop",
            prompt_tokens=prompt_tokens,
            completion_tokens=self.completion_tokens,
            token_ids=tuple(self._token_ids),
            logprobs=tuple(self._logprobs),
        )

    def _read(self, chunk: Mapping[str, Any]) -> Event | None:
        usage = chunk.get("usage")
        choices = chunk.get("choices") or ()
        before = self.completion_tokens
        if usage:
            self.prompt_tokens = _count(usage["prompt_tokens"])
            self.exact = True
        if not choices:
            if usage:
                self.completion_tokens = _count(usage["completion_tokens"])
            return None
        choice = choices[0]
        text = self._text_of(choice)
        ids = tuple(int(token_id) for token_id in choice.get("token_ids") or ())
        if text and "token_ids" not in choice:
            self._named = False
        if self._named:
            # The usage may run ahead: a chunk without ids can come before the one that has them.
            self.exact = self.exact or bool(ids)
            self.completion_tokens += len(ids)
        elif usage and self._usage_in_chunks:
            self.completion_tokens = max(before, _count(usage["completion_tokens"]))
        elif text:
            self.completion_tokens += 1
        found = self._logprobs_of(choice)
        self.text += text
        self._token_ids += ids
        self._logprobs += found
        if choice.get("finish_reason"):
            self.finish_reason = "length" if choice["finish_reason"] == "length" else "stop"
        unnamed = self.completion_tokens - before - len(ids)
        if not (text or found or ids or unnamed > 0):
            return None
        return Event(text=text, token_ids=ids, unnamed_tokens=max(0, unnamed), logprobs=found)

    def _text_of(self, choice: Mapping[str, Any]) -> str:
        if not self._chat:
            text = choice.get("text") or ""
            return text + ""  # a TypeError if it is no string
        delta = choice.get("delta") or {}
        return self._tools.text(delta.get("content") or "", delta.get("tool_calls") or ())

    def _logprobs_of(self, choice: Mapping[str, Any]) -> tuple[TokenLogprobs, ...]:
        found = choice.get("logprobs")
        if not found:
            return ()
        return logprobs.of_chat(found.get("content") or ()) if self._chat else logprobs.of_completion(found)


def _count(reported: Any) -> int:
    """Raises ValueError: it is no number of tokens, which nobody may be charged."""
    count = int(reported)
    if not 0 <= count <= _MOST_TOKENS:
        raise ValueError("The engine reports an impossible number of tokens.")
    return count
