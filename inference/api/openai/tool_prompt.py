"""Tools for a model whose chat template knows none: they and their calls become text of messages."""

import json
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from inference.engine.tool_format import PLAIN, written_calls

_INTRODUCTION = (
    "You have these functions:\n{functions}\n"
    "Answer with a JSON object that has the name of a function and its arguments: "
    '{{"name": …, "arguments": …}}'
)


def told_in_text(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """The messages for a template without tools.

    The tools are in the system's message, calls are the assistant's text, and results are the user's.
    """
    written: list[dict[str, Any]] = []
    for from_tools, group in groupby(messages, lambda message: message["role"] == "tool"):
        if from_tools:
            results = "\n".join(f"{one['name']} returned: {one['content']}" for one in group)
            written.append({"role": "user", "content": results})
        else:
            written += [_with_calls_in_text(message) for message in group]
    return tuple(_introduced(written, tools) if tools else written)


def _with_calls_in_text(message: Mapping[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return dict(message)
    functions = [call["function"] for call in calls]
    named = [(one["name"], json.dumps(one["arguments"], ensure_ascii=False)) for one in functions]
    text = "".join(written_calls(PLAIN, named))
    content = "\n".join(part for part in (message["content"], text) if part)
    return {"role": message["role"], "content": content}


def _introduced(messages: list[dict[str, Any]], tools: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    functions = "\n".join(json.dumps(tool["function"], ensure_ascii=False) for tool in tools)
    introduction = _INTRODUCTION.format(functions=functions)
    first, *rest = messages
    if first["role"] in ("system", "developer"):
        return [{**first, "content": f"{first['content']}\n\n{introduction}"}, *rest]
    return [{"role": "system", "content": introduction}, *messages]
