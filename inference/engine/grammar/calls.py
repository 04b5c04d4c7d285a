"""The grammar of an answer that calls tools, or may call them."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from inference.engine.grammar.source import Grammar
from inference.engine.tool_calls import ToolCallReader
from inference.engine.tool_format import ToolFormat

_ANYTHING = "/(?s:.*)/"
_CONTROL_TOKEN = re.compile(r"^calls: <\[\d+\]>", re.MULTILINE)
_NO_BYTE = 256


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Answers whose calls follow a format, name a known tool and fit its schema.

    Attributes:
        arguments: the JSON Schema of the arguments of each tool, by the tool's name.
        paths: where each of these schemas stands within the field of the request, for messages.
        required: the answer is at least one call; otherwise it may be text.
        several: more than one call is allowed, if the format has a way to write them.
        text: what an answer without calls fits. Calls are then the whole answer. None allows any text, also
            before calls if the format does.
    """

    tool_format: ToolFormat
    arguments: Mapping[str, Mapping[str, Any]]
    paths: Sequence[str]
    required: bool
    several: bool
    text: Grammar | None = None

    @classmethod
    def parse(cls, source: str) -> Self:
        """What `grammar` has written."""
        values = json.loads(source)
        values["tool_format"] = ToolFormat(**values["tool_format"])
        values["text"] = values["text"] and Grammar(**values["text"])
        return cls(**values)

    def grammar(self, *, field: str) -> Grammar:
        """As a request asks for it."""
        return Grammar("calls", json.dumps(asdict(self), ensure_ascii=False), field)

    @property
    def beginnings(self) -> Sequence[str]:
        """How an answer begins that calls, where `text` is given and no control token tells."""
        form = self.tool_format
        if self.text is None or form.control:
            return ()
        return [f"{form.begin}{form.opening}{name}{form.middle}" for name in self.arguments]

    def reader(self) -> ToolCallReader:
        """A reader of one answer."""
        beginnings = None if self.text is None else self.beginnings
        return ToolCallReader(self.tool_format, required=self.required, beginnings=beginnings)

    def rules(self, arguments: Sequence[str], *, text: str | None = None) -> str:
        """The rules in llguidance's variant of Lark's syntax.

        Args:
            arguments: what stands in a rule for the arguments of each tool.
            text: what stands in one for `text`.
        """
        form = self.tool_format
        if self.required:
            start = ["start: calls"]
        elif text is not None:
            start = ["start: calls | text"]
        elif form.after_text:
            start = [
                f"start: TEXT | head {_any_of('first', arguments)}{self._more}",
                f"TEXT: {_ANYTHING}",
                f"head[lazy]: TEXT {_literal(form.trigger)}",
                *self._one_call("first", form.opening.removeprefix(form.trigger)),
            ]
        else:
            # An answer that begins like a call is one.
            unlike = f" & ~({_literal(form.trigger)} {_ANYTHING})" if form.trigger else ""
            start = ["start: TEXT | calls", f"TEXT: {_ANYTHING}{unlike}"]
        control = [] if form.control_id is None else [f"<[{form.control_id}]>"]
        frame = [*control, *_quoted(form.begin), f"call{self._more}", *_quoted(form.end)]
        rules = [
            *start,
            f"calls: {' '.join(frame)}",
            f"call: {_any_of('call', arguments)}",
            *self._one_call("call", form.opening),
            *(f"arguments_{number}: {node}" for number, node in enumerate(arguments)),
            *([] if text is None else [f"text: {text}"]),
        ]
        return "\n".join(rules)

    @property
    def _more(self) -> str:
        separator = self.tool_format.separator
        return f" ({_literal(separator)} call)*" if self.several and separator is not None else ""

    def _one_call(self, rule: str, opening: str) -> list[str]:
        form = self.tool_format
        return [
            f"{rule}_{number}: {_literal(f'{opening}{name}{form.middle}')} arguments_{number} "
            f"{_literal(form.closing)}"
            for number, name in enumerate(self.arguments)
        ]


def without_control_token(grammar: str) -> str:
    """The grammar for the bytes of texts, in which no control token comes: calls that need one do not match.

    Args:
        grammar: of `rules`, or any other.
    """
    return _CONTROL_TOKEN.sub(f"calls: <[{_NO_BYTE}]>", grammar, count=1)


def _any_of(rule: str, alternatives: Sequence[str]) -> str:
    return f"({' | '.join(f'{rule}_{number}' for number in range(len(alternatives)))})"


def _literal(text: str) -> str:
    return json.dumps(text)


def _quoted(text: str) -> list[str]:
    return [_literal(text)] if text else []
