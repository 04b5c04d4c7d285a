"""What a request's tools mean for its prompt, its grammar and the reading of its answer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rest_framework import serializers

from inference.api.openai.messages import as_chat
from inference.api.openai.tool_prompt import told_in_text
from inference.api.openai.tools import Tool, ToolChoice
from inference.engine.grammar.calls import Calls
from inference.engine.grammar.source import Grammar
from inference.engine.request import Chat
from inference.engine.tool_calls import ToolCallReader
from inference.engine.tool_format import PLAIN, ToolFormat

ONLY_WITH_TOOLS = "Only allowed with `tools`."
NO_CHOICE = (
    "The chat template of this model knows no tools, so the model cannot choose: send “required”, or name a "
    "function."
)


@dataclass(frozen=True, kw_only=True)
class ToolUse:
    """The tools that the model may call in one answer.

    Attributes:
        named: the client named the one tool that is called.
        several: the model may call more than one.
        text: what an answer that calls none fits; None for any text.
    """

    tools: Sequence[Tool]
    tool_format: ToolFormat
    required: bool
    named: bool
    several: bool
    text: Grammar | None = None

    @property
    def grammar(self) -> Grammar:
        """What the answer is held to: arguments always fit their schema."""
        return self._calls.grammar(field="tools")

    def reader(self) -> ToolCallReader:
        """A reader of one answer."""
        return self._calls.reader()

    @property
    def _calls(self) -> Calls:
        return Calls(
            tool_format=self.tool_format,
            arguments={tool.name: tool.parameters for tool in self.tools},
            paths=[tool.path for tool in self.tools],
            required=self.required,
            several=self.several,
            text=self.text,
        )


def check_tool_fields(fields: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuse fields of these names without `tools`, and the choice of a tool that there is not.

    Raises:
        ValidationError: there are such.
    """
    for name in names:
        if fields["tools"] is None and fields[name] is not None:
            raise serializers.ValidationError({name: ONLY_WITH_TOOLS})
    check_choice(fields)


def check_choice(fields: Mapping[str, Any]) -> None:
    """Refuse the choice of a tool that there is not.

    Raises:
        ValidationError: it is such.
    """
    tools, choice = fields["tools"] or (), fields["tool_choice"]
    if choice is None:
        return
    if choice.mode == "required" and not tools:
        raise serializers.ValidationError({"tool_choice": ONLY_WITH_TOOLS})
    if choice.name is not None and choice.name not in {tool.name for tool in tools}:
        raise serializers.ValidationError({"tool_choice": f"No tool has the name “{choice.name[:64]}”."})


def tool_use(fields: Mapping[str, Any], tool_format: ToolFormat | None) -> ToolUse | None:
    """The tools that the model may call; None if it may call none.

    Raises:
        ValidationError: the model cannot choose whether to call a tool.
    """
    choice = fields["tool_choice"] or ToolChoice("auto")
    if not fields["tools"] or choice.mode == "none":
        return None
    if choice.mode == "auto" and tool_format is None:
        raise serializers.ValidationError({"tool_choice": NO_CHOICE})
    return ToolUse(
        tools=[tool for tool in fields["tools"] if choice.name in (None, tool.name)],
        tool_format=tool_format or PLAIN,
        required=choice.mode == "required",
        named=choice.name is not None,
        several=choice.name is None and fields["parallel_tool_calls"] is not False,
        text=fields["grammar"] if choice.mode == "auto" else None,
    )


def conversation(
    messages: tuple[dict[str, Any], ...], use: ToolUse | None, tool_format: ToolFormat | None
) -> Chat:
    """The conversation as the model's chat template takes it; the assistant's last message is continued."""
    tools = tuple(tool.as_sent() for tool in use.tools) if use else ()
    if tool_format is None:
        messages, tools = told_in_text(messages, tools), ()
    return replace(as_chat(messages), tools=tools)
