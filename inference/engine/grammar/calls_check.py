"""The last word on a finished answer that may call tools."""

from inference.engine.grammar.calls import Calls
from inference.engine.grammar.check import SchemaCheck
from inference.engine.tool_calls import Arguments, Call, ToolCallReader


class CallsCheck:
    """Whether the arguments of an answer's calls fit their schemas. Only one thread may use it at a time."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._checks = {name: SchemaCheck(schema) for name, schema in calls.arguments.items()}

    def fits(self, text: str) -> bool:
        """Whether all of them fit; an answer that calls nothing fits.

        Raises:
            GenerationFailed: it takes too long to find out.
        """
        form = self._calls.tool_format
        reader = ToolCallReader(form, required=self._calls.required)
        if form.control and text.startswith(form.begin + form.opening):
            reader.begin_calls()
        calls: list[tuple[str, str]] = []
        for part in reader.feed(text):
            match part:
                case Call(name=name):
                    calls.append((name, ""))
                case Arguments(text=piece):
                    name, arguments = calls[-1]
                    calls[-1] = name, arguments + piece
        return all(self._checks[name].fits(arguments) for name, arguments in calls)
