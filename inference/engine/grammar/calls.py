"""The grammar of an answer that calls tools, or may call them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from inference.engine.grammar.source import Grammar
from inference.engine.tool_format import ToolFormat

_ANYTHING = "/(?s:.*)/"


@dataclass(frozen=True, kw_only=True)
class Calls:
    """Answers whose calls follow a format, name a known tool and fit its schema.

    Attributes:
        arguments: the JSON Schema of the arguments of each tool, by the tool's name.
        paths: where each of these schemas stands within the field of the request, for messages.
        required: the answer is at least one call; otherwise it may be text.
        several: more than one call is allowed, if the format has a way to write them.
    """

    tool_format: ToolFormat
    arguments: Mapping[str, Mapping[str, Any]]
    paths: Sequence[str]
    required: bool
    several: bool

    @classmethod
    def parse(cls, source: str) -> Self:
        """What `grammar` has written."""
        values = json.loads(source)
        return cls(**{**values, "tool_format": ToolFormat(**values["tool_format"])})

    def grammar(self, *, field: str) -> Grammar:
        """As a request asks for it."""
        return Grammar("calls", json.dumps(asdict(self), ensure_ascii=False), field)

    def rules(self, arguments: Sequence[str]) -> str:
        """The rules in llguidance's variant of Lark's syntax.

        Args:
            arguments: what stands in a rule for the arguments of each tool.
        """
        form = self.tool_format
        if self.required:
            start = ["start: calls"]
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


def _any_of(rule: str, alternatives: Sequence[str]) -> str:
    return f"({' | '.join(f'{rule}_{number}' for number in range(len(alternatives)))})"


def _literal(text: str) -> str:
    return json.dumps(text)


def _quoted(text: str) -> list[str]:
    return [_literal(text)] if text else []
