"""The grammar of an answer that calls tools, in the Lark dialect of llguidance."""

import json
from collections.abc import Mapping

from inference.engine.tool_format import ToolFormat

_ANYTHING = "/(?s:.*)/"


def tool_grammar(
    tool_format: ToolFormat,
    arguments: Mapping[str, Mapping[str, object]],
    *,
    required: bool,
    several: bool,
) -> str:
    """A grammar of answers whose calls follow the format, name a known tool and fit its schema.

    Args:
        arguments: the JSON schema of the arguments of each tool, by the tool's name.
        required: the answer is at least one call; otherwise it may be text.
        several: more than one call is allowed, if the format has a way to write them.
    """
    separator = tool_format.separator
    more = f" ({_literal(separator)} call)*" if several and separator is not None else ""
    control_id = tool_format.control_id
    begin = "" if control_id is None else f"<[{control_id}]> "
    rules = [
        f"call: {' | '.join(f'call_{number}' for number in range(len(arguments)))}",
        *(
            f"call_{number}: {_literal(f'{tool_format.opening}{name}{tool_format.middle}')} "
            f"arguments_{number} {_literal(tool_format.closing)}"
            for number, name in enumerate(arguments)
        ),
        *(
            f"arguments_{number}: %json {json.dumps(schema)}"
            for number, schema in enumerate(arguments.values())
        ),
        f"calls: {begin}{_quoted(tool_format.begin)}call{more}{_quoted(tool_format.end)}",
    ]
    if required:
        return "\n".join(["start: calls", *rules])
    if not tool_format.after_text:
        # An answer that begins like a call is one.
        text = (
            f"{_ANYTHING} & ~{_literal(tool_format.trigger)} {_ANYTHING}"
            if tool_format.trigger
            else _ANYTHING
        )
        return "\n".join(["start: TEXT | calls", f"TEXT: {text}", *rules])
    rest = tool_format.opening.removeprefix(tool_format.trigger)
    first = [
        f"first: {' | '.join(f'first_{number}' for number in range(len(arguments)))}",
        *(
            f"first_{number}: {_literal(f'{rest}{name}{tool_format.middle}')} "
            f"arguments_{number} {_literal(tool_format.closing)}"
            for number, name in enumerate(arguments)
        ),
    ]
    head = [f"TEXT: {_ANYTHING}", f"head[lazy]: TEXT {_literal(tool_format.trigger)}"]
    return "\n".join([f"start: TEXT | head first{more}", *head, *first, *rules[:-1]])


def _literal(text: str) -> str:
    return json.dumps(text)


def _quoted(text: str) -> str:
    return f"{_literal(text)} " if text else ""
