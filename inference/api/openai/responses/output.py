"""The output of a response as it grows: its items, and the events that tell a client of them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from inference.api.openai.logprobs import ChatLogprobs
from inference.api.openai.tool_answer import AnswerReader, new_call_id
from inference.api.openai.tool_use import ToolUse
from inference.engine.generation import Completion, Event
from inference.engine.tool_calls import Arguments, Call, Content, Part

ENDED = {"stop": "completed", "length": "incomplete"}
"""The status of a response for the reason why its text ends."""

Change = tuple[str, dict[str, Any]]
"""The name of an event of a stream, and its data without the number."""


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


@dataclass(kw_only=True)
class _Message:
    """Text of the assistant: one part."""

    index: int
    identity: str = field(default_factory=lambda: _new_id("msg"))
    text: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)

    def begin(self) -> Iterator[Change]:
        item = self._item("in_progress", [])
        yield "response.output_item.added", {"output_index": self.index, "item": item}
        yield "response.content_part.added", {**self._place, "part": self._part}

    def grow(self, text: str, logprobs: list[dict[str, Any]]) -> Iterator[Change]:
        self.text += text
        self.logprobs += logprobs
        yield "response.output_text.delta", {**self._place, "delta": text, "logprobs": logprobs}

    def end(self, status: str) -> Iterator[Change]:
        done = {**self._place, "text": self.text, "logprobs": self.logprobs}
        yield "response.output_text.done", done
        yield "response.content_part.done", {**self._place, "part": self._part}
        yield "response.output_item.done", {"output_index": self.index, "item": self.item(status)}

    def item(self, status: str) -> dict[str, Any]:
        return self._item(status, [self._part])

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        kind = {"id": self.identity, "type": "message", "status": status}
        return {**kind, "role": "assistant", "content": content}

    @property
    def _part(self) -> dict[str, Any]:
        return {"type": "output_text", "text": self.text, "annotations": [], "logprobs": [*self.logprobs]}

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.identity, "output_index": self.index, "content_index": 0}


@dataclass(kw_only=True)
class _FunctionCall:
    """A call of a function."""

    index: int
    name: str
    identity: str = field(default_factory=lambda: _new_id("fc"))
    call_id: str = field(default_factory=new_call_id)
    arguments: str = ""

    def begin(self) -> Iterator[Change]:
        item = self.item("in_progress")
        yield "response.output_item.added", {"output_index": self.index, "item": item}

    def grow(self, text: str) -> Iterator[Change]:
        self.arguments += text
        yield "response.function_call_arguments.delta", {**self._place, "delta": text}

    def end(self, status: str) -> Iterator[Change]:
        done = {**self._place, "name": self.name, "arguments": self.arguments}
        yield "response.function_call_arguments.done", done
        yield "response.output_item.done", {"output_index": self.index, "item": self.item(status)}

    def item(self, status: str) -> dict[str, Any]:
        return {
            "id": self.identity,
            "type": "function_call",
            "status": status,
            "call_id": self.call_id,
            "name": self.name,
            "arguments": self.arguments,
        }

    @property
    def _place(self) -> dict[str, Any]:
        return {"item_id": self.identity, "output_index": self.index}


class Output:
    """The items of one response: text is a message, and each call an item after it.

    Attributes:
        status: that of the response.
        items: those that are complete, or as far as the response goes.
    """

    def __init__(self, use: ToolUse | None, logprobs: ChatLogprobs) -> None:
        self.status = "in_progress"
        self.items: list[dict[str, Any]] = []
        self._reader = AnswerReader(use) if use else None
        self._without_text = use is not None and use.required
        self._logprobs = logprobs
        self._new_logprobs: list[dict[str, Any]] = []
        self._open: _Message | _FunctionCall | None = None

    def complete(self, completion: Completion) -> None:
        """Take a text that is complete."""
        for _ in self.changes(completion.as_event()):
            pass

    def changes(self, event: Event) -> Iterator[Change]:
        """What an event adds to the output."""
        self._new_logprobs += self._logprobs.of(event)["content"]
        for part in self._parts(event):
            yield from self._add(part)
        if event.finish_reason is not None:
            yield from self._finish(ENDED[event.finish_reason])

    def _parts(self, event: Event) -> Iterator[Part]:
        if self._reader is not None:
            yield from self._reader.read(event)
        elif event.text or self._new_logprobs:
            yield Content(event.text)

    def _add(self, part: Part) -> Iterator[Change]:
        match part:
            case Content(text=text):
                yield from self._add_text(text)
            case Call(name=name):
                yield from self._end_item("completed")
                yield from self._begin(_FunctionCall(index=len(self.items), name=name))
            case Arguments(text=text) if isinstance(self._open, _FunctionCall):
                yield from self._open.grow(text)

    def _add_text(self, text: str) -> Iterator[Change]:
        if not isinstance(self._open, _Message):
            message = _Message(index=len(self.items))
            yield from self._begin(message)
        else:
            message = self._open
        logprobs, self._new_logprobs = self._new_logprobs, []
        yield from message.grow(text, logprobs)

    def _finish(self, status: str) -> Iterator[Change]:
        self.status = status
        # Those of tokens whose text might have begun a call.
        if isinstance(self._open, _Message) and self._new_logprobs:
            yield from self._add_text("")
        if self._open is None and not self._without_text:
            yield from self._begin(_Message(index=len(self.items)))
        yield from self._end_item(status)

    def _begin(self, item: _Message | _FunctionCall) -> Iterator[Change]:
        self._open = item
        yield from item.begin()

    def _end_item(self, status: str) -> Iterator[Change]:
        if self._open is not None:
            yield from self._open.end(status)
            self.items.append(self._open.item(status))
            self._open = None
