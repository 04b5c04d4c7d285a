"""Calls of tools as text, because events carry text only; the API reads them back by `UPSTREAM_CALLS`."""

from collections.abc import Iterable, Mapping
from typing import Any

from inference.engine.tool_format import ToolFormat

# A noncharacter, which no text contains; it never leaves this process.
_MARK = "\ufdd0"

UPSTREAM_CALLS = ToolFormat(opening=f'{_MARK}{{"name": "', separator="", trigger=_MARK, after_text=True)
"""The engine writes and reads calls in its model's own format, which nobody here has to know."""


class ToolText:
    """The text of one answer with calls, piece by piece as it comes."""

    def __init__(self) -> None:
        self._index = -1
        self._lacks_arguments = False

    def text(self, content: str, calls: Iterable[Mapping[str, Any]]) -> str:
        """The next text for content and pieces of calls.

        Raises:
            ValueError: the pieces of several calls are mixed.
        """
        return "".join([content.replace(_MARK, ""), *(self._piece(call) for call in calls)])

    def finish(self) -> str:
        """The end of the text: a call without arguments has an empty object."""
        return self._closed()

    def _piece(self, call: Mapping[str, Any]) -> str:
        function = call.get("function") or {}
        index = call.get("index", self._index + 1)
        written = ""
        if index > self._index:
            name = function["name"].replace(_MARK, "")
            written = f"{self._closed()}{UPSTREAM_CALLS.opening}{name}{UPSTREAM_CALLS.middle}"
            self._index, self._lacks_arguments = index, True
        elif index < self._index:
            raise ValueError("The pieces of several calls are mixed.")
        arguments = (function.get("arguments") or "").replace(_MARK, "")
        if arguments:
            self._lacks_arguments = False
        return written + arguments

    def _closed(self) -> str:
        lacking, self._lacks_arguments = self._lacks_arguments, False
        return "{}" if lacking else ""
