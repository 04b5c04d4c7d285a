"""Reading calls of tools from a text that follows the grammar of its format, piece by piece as it comes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inference.engine.tool_format import ToolFormat


@dataclass(frozen=True, slots=True)
class Content:
    """Text that is no call."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call begins: the `index`-th of the answer."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """A piece of the arguments of the call at `index`, which together are a JSON object."""

    index: int
    text: str


Part = Content | Call | Arguments


class ToolCallReader:
    """Reads one answer.

    Args:
        required: the answer consists of calls; otherwise it is text, calls, or text and then calls.
        beginnings: an answer is calls only if it begins in one of these ways, and is text otherwise. None
            leaves it to the format.

    Attributes:
        calls: how many calls have begun.
    """

    def __init__(
        self, tool_format: ToolFormat, *, required: bool, beginnings: Sequence[str] | None = None
    ) -> None:
        self.calls = 0
        self._format = tool_format
        self._after_text = tool_format.after_text and beginnings is None
        self._beginnings = (
            ([tool_format.trigger] if tool_format.trigger else []) if beginnings is None else beginnings
        )
        self._pending = ""
        self._read = self._read_name if required else self._read_text
        self._object = _JSONObject()

    @property
    def within_arguments(self) -> bool:
        """Whether the arguments of the last call have begun and not ended."""
        return self._read == self._read_arguments

    def begin_calls(self) -> None:
        """The control token of the format has come: no text follows, only calls."""
        self._read = self._read_name

    def feed(self, text: str) -> Iterator[Part]:
        """The parts that `text`, the next piece of the answer, completes."""
        self._pending += text
        while (part := self._read()) is not None:
            yield part

    def finish(self) -> Iterator[Part]:
        """At the end of the answer: text that looked like the beginning of a call."""
        if self._read == self._read_text and self._pending:
            yield Content(self._take(len(self._pending)))

    def _read_text(self) -> Part | None:
        if not self._after_text:
            return self._read_beginning()
        trigger = self._format.trigger
        if (found := self._pending.find(trigger)) >= 0:
            return self._triggered(found)
        kept = next(n for n in range(len(trigger) - 1, -1, -1) if self._pending.endswith(trigger[:n]))
        return self._content(len(self._pending) - kept)

    def _read_beginning(self) -> Part | None:
        if any(self._pending.startswith(beginning) for beginning in self._beginnings):
            return self._triggered(0)
        if any(beginning.startswith(self._pending) for beginning in self._beginnings):
            return None  # it is too short to tell
        self._read = self._read_rest
        return self._read()

    def _read_rest(self) -> Part | None:
        return self._content(len(self._pending))

    def _triggered(self, at: int) -> Part | None:
        self.begin_calls()
        return self._content(at) or self._read()

    def _read_name(self) -> Part | None:
        opening, middle = self._format.opening, self._format.middle
        start = self._pending.find(opening)
        end = self._pending.find(middle, start + len(opening)) if start >= 0 else -1
        if end < 0:
            return None
        name = self._pending[start + len(opening) : end]
        self._take(end + len(middle))
        self._read, self._object = self._read_arguments, _JSONObject()
        self.calls += 1
        return Call(self.calls - 1, name)

    def _read_arguments(self) -> Part | None:
        length = self._object.extend(self._pending)
        if self._object.complete:
            self._read = self._read_name
        return Arguments(self.calls - 1, self._take(length)) if length else None

    def _content(self, length: int) -> Content | None:
        return Content(self._take(length)) if length else None

    def _take(self, length: int) -> str:
        taken, self._pending = self._pending[:length], self._pending[length:]
        return taken


class _JSONObject:
    """Where a JSON object ends that comes in pieces."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self.complete = False

    def extend(self, text: str) -> int:
        """How many characters of `text` belong to the object."""
        for number, character in enumerate(text, start=1):
            if self._in_string:
                self._in_string = self._escaped or character != '"'
                self._escaped = not self._escaped and character == "\\"
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth == 0:
                    self.complete = True
                    return number
        return len(text)
