"""Answers that call tools, as OpenAI's clients read them: whole, and as they grow."""

import uuid
from collections.abc import Iterator
from typing import Any

from inference.api.openai.tool_use import ToolUse
from inference.engine.generation import Event
from inference.engine.tool_calls import Arguments, Call, Content, Part, ToolCallReader


class AnswerReader:
    """Reads the events of one answer of a request with tools."""

    def __init__(self, use: ToolUse) -> None:
        self._control_id = use.tool_format.control_id
        self._reader: ToolCallReader = use.reader()

    @property
    def calls(self) -> int:
        """How many calls have begun."""
        return self._reader.calls

    def read(self, event: Event) -> Iterator[Part]:
        """The parts that the event completes."""
        if self._control_id is not None and self._control_id in event.token_ids:
            self._reader.begin_calls()
        yield from self._reader.feed(event.text)
        if event.finish_reason is not None:
            yield from self._reader.finish()


class ToolAnswer:
    """One answer in chat's form; read whole or by its events, not both."""

    def __init__(self, use: ToolUse) -> None:
        self._use = use
        self._reader = AnswerReader(use)

    def message(self, event: Event) -> dict[str, Any]:
        """What the message of a complete answer has, which is one event."""
        content = ""
        calls: list[dict[str, Any]] = []
        for part in self._reader.read(event):
            match part:
                case Content(text=piece):
                    content += piece
                case Call(name=name):
                    calls.append(_call(name))
                case Arguments(text=piece):
                    calls[-1]["function"]["arguments"] += piece
        return {"content": content or None, "tool_calls": calls} if calls else {"content": content}

    def deltas(self, event: Event) -> Iterator[dict[str, Any]]:
        """What an event adds to the message."""
        for part in self._reader.read(event):
            match part:
                case Content(text=piece):
                    yield {"content": piece}
                case Call(index=index, name=name):
                    yield {"tool_calls": [{"index": index, **_call(name)}]}
                case Arguments(index=index, text=piece):
                    yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}

    def finish_reason(self, event: Event) -> str | None:
        """Why the answer ends, if it does; a call that the client itself named is a "stop"."""
        called = event.finish_reason == "stop" and self._reader.calls and not self._use.named
        return "tool_calls" if called else event.finish_reason


def new_call_id() -> str:
    """An id by which a result says to which call it belongs."""
    return f"call_{uuid.uuid4().hex[:24]}"


def _call(name: str) -> dict[str, Any]:
    return {
        "id": new_call_id(),
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }
