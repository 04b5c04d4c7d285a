"""The last word on a finished answer that may call tools."""

from inference.engine.grammar.calls import Calls
from inference.engine.grammar.check import SchemaCheck
from inference.engine.grammar.source import schema_of
from inference.engine.tool_calls import Arguments, Call, Content
from inference.engine.tool_format import written_calls


class CallsCheck:
    """Whether an answer's calls, or its text, fit their schemas. Only one thread may use it at a time."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._checks = {name: SchemaCheck(schema) for name, schema in calls.arguments.items()}
        of_text = None if calls.text is None else schema_of(calls.text)
        self._text_check = None if of_text is None else SchemaCheck(of_text)

    def fits(self, text: str, *, calls_begun: bool, cut: bool = False) -> bool:
        """Whether the answer is complete calls that fit, or a text that does.

        Args:
            calls_begun: the control token of the format has come.
            cut: the answer is the beginning of one, whose complete calls fit.

        Raises:
            NoFittingText: it takes too long to find out.
        """
        content, calls, last_is_open = self._read(text, calls_begun=calls_begun)
        complete = calls[:-1] if last_is_open else calls
        if cut:
            return self._fit(complete)
        if calls:
            return self._are_complete(calls, text.removeprefix(content)) and self._fit(calls)
        if calls_begun or self._calls.required:
            return False
        return self._text_check is None or self._text_check.fits(content)

    def json_at_end(self, text: str, *, calls_begun: bool) -> str | None:
        """The JSON that the beginning of an answer ends with: the arguments of its last call, or its text.

        None if neither has begun, or its text need not be JSON.

        Args:
            calls_begun: as for `fits`.
        """
        content, calls, _ = self._read(text, calls_begun=calls_begun)
        if calls:
            return calls[-1][1]
        return None if calls_begun or self._text_check is None else content

    def _read(self, text: str, *, calls_begun: bool) -> tuple[str, list[tuple[str, str]], bool]:
        """The text before calls, each call's name and arguments, and whether the last is incomplete."""
        reader = self._calls.reader()
        if calls_begun:
            reader.begin_calls()
        content = ""
        calls: list[tuple[str, str]] = []
        for part in (*reader.feed(text), *reader.finish()):
            match part:
                case Content(text=piece):
                    content += piece
                case Call(name=name):
                    calls.append((name, ""))
                case Arguments(text=piece):
                    name, arguments = calls[-1]
                    calls[-1] = name, arguments + piece
        return content, calls, reader.within_arguments

    def _fit(self, calls: list[tuple[str, str]]) -> bool:
        return all(name in self._checks and self._checks[name].fits(arguments) for name, arguments in calls)

    def _are_complete(self, calls: list[tuple[str, str]], text: str) -> bool:
        return "".join(written_calls(self._calls.tool_format, calls)) == text
