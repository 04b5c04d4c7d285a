"""How models write calls of tools: the literal text around a call's name and its arguments.

A model that was trained on tools has a chat template that shows it how to write a call. The families below
are told by what the template contains. All of them write the arguments as one JSON object.
"""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ToolFormat:
    """The text of calls: `begin`, then calls with `separator` between them, then `end`.

    A call is `opening`, the name, `middle`, the arguments as a JSON object, and `closing`.

    Attributes:
        control: the control token before the first call, which the text does not show; "" if there is none.
        control_id: its id, which differs between models.
        trigger: the first part of `opening`, after which a model has decided for a call; "" if `control` is
            what decides.
        separator: None if the model writes one call at most.
        after_text: whether text may precede the first call.
    """

    control: str = ""
    control_id: int | None = None
    begin: str = ""
    opening: str = '{"name": "'
    middle: str = '", "arguments": '
    closing: str = "}"
    separator: str | None = None
    end: str = ""
    trigger: str = ""
    after_text: bool = False


HERMES = ToolFormat(
    opening='<tool_call>\n{"name": "',
    closing="}\n</tool_call>",
    separator="\n",
    trigger="<tool_call>",
    after_text=True,
)
"""Hermes, Qwen 2.5 and 3, SmolLM3."""

MISTRAL = ToolFormat(control="[TOOL_CALLS]", begin="[", separator=", ", end="]")
"""Mistral up to version 3 of its tokenizer."""

LLAMA = ToolFormat(middle='", "parameters": ', trigger='{"name": "')
"""Llama 3.1 to 3.3, which call one tool at a time."""

PLAIN = ToolFormat(separator="\n")
"""For models whose template knows no tools: only where a call is required."""

_TOLD_BY = (("<tool_call>", HERMES), ("[TOOL_CALLS]", MISTRAL), ('"parameters": ', LLAMA))


def tool_format_of(template: str) -> ToolFormat | None:
    """The format that a chat template teaches; None if it knows no tools, or calls of another kind."""
    if "tools" not in template:
        return None
    return next((known for told, known in _TOLD_BY if told in template), None)


def written_calls(tool_format: ToolFormat, calls: list[tuple[str, str]]) -> Iterator[str]:
    """The parts of the text of calls, each a name and its arguments as JSON."""
    yield tool_format.begin
    for index, (name, arguments) in enumerate(calls):
        if index:
            yield tool_format.separator or ""
        yield f"{tool_format.opening}{name}{tool_format.middle}{arguments}{tool_format.closing}"
    yield tool_format.end
