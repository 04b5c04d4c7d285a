"""Answers that call tools, as OpenAI's clients read them: whole, and as they grow."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from inference.api.openai.tool_use import ToolUse
from inference.engine.tool_calls import Arguments, Call, Content, Part, ToolCallReader


class ToolAnswer:
    """One answer of a request with tools; read whole or by its events, not both."""

    def __init__(self, use: ToolUse) -> None:
        self._use = use
        self._reader: ToolCallReader = use.reader()

    def message(self, text: str, token_ids: Sequence[int]) -> dict[str, Any]:
        """The assistant's message of a complete text."""
        content = ""
        calls: list[dict[str, Any]] = []
        for part in [*self._read(text, token_ids), *self._reader.finish()]:
            match part:
                case Content(text=piece):
                    content += piece
                case Call(name=name):
                    calls.append(_call(name))
                case Arguments(text=piece):
                    calls[-1]["function"]["arguments"] += piece
        message = {"role": "assistant", "content": content or None, "refusal": None}
        return {**message, "tool_calls": calls} if calls else message

    def deltas(self, text: str, token_ids: Sequence[int], *, last: bool) -> Iterator[dict[str, Any]]:
        """What an event adds to the message."""
        parts = self._read(text, token_ids)
        for part in [*parts, *self._reader.finish()] if last else parts:
            match part:
                case Content(text=piece):
                    yield {"content": piece}
                case Call(index=index, name=name):
                    yield {"tool_calls": [{"index": index, **_call(name)}]}
                case Arguments(index=index, text=piece):
                    yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def finish_reason(self, reason: str | None) -> str | None:
        """Why the answer ends, given why its text does; a call that the client itself named is a "stop"."""
        return "tool_calls" if reason == "stop" and self._reader.calls and not self._use.named else reason

    def _read(self, text: str, token_ids: Sequence[int]) -> Iterator[Part]:
        control_id = self._use.tool_format.control_id
        if control_id is not None and control_id in token_ids:
            self._reader.begin_calls()
        return self._reader.feed(text)


def _call(name: str) -> dict[str, Any]:
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
