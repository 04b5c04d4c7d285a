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
NOT_BOTH = (
    "Not supported together with a format of the text or `structured_outputs`, unless `tool_choice` is none."
)


@dataclass(frozen=True, kw_only=True)
class ToolUse:
    """The tools that the model may call in one answer.

    Attributes:
        named: the client named the one tool that is called.
        several: the model may call more than one.
    """

    tools: Sequence[Tool]
    tool_format: ToolFormat
    required: bool
    named: bool
    several: bool

    @property
    def grammar(self) -> Grammar:
        """What the answer is held to: arguments always fit their schema."""
        calls = Calls(
            tool_format=self.tool_format,
            arguments={tool.name: tool.parameters for tool in self.tools},
            paths=[tool.path for tool in self.tools],
            required=self.required,
            several=self.several,
        )
        return calls.grammar(field="tools")

    def reader(self) -> ToolCallReader:
        """A reader of one answer."""
        return ToolCallReader(self.tool_format, required=self.required)


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
    if choice.name and choice.name not in {tool.name for tool in tools}:
        raise serializers.ValidationError({"tool_choice": f"No tool has the name “{choice.name[:64]}”."})


def tool_use(fields: Mapping[str, Any], tool_format: ToolFormat | None) -> ToolUse | None:
    """The tools that the model may call; None if it may call none.

    Raises:
        ValidationError: the model cannot choose whether to call a tool, or the text must fit something else.
    """
    choice = fields["tool_choice"] or ToolChoice("auto")
    if not fields["tools"] or choice.mode == "none":
        return None
    if fields["grammar"] is not None:
        raise serializers.ValidationError({"tools": NOT_BOTH})
    if choice.mode == "auto" and tool_format is None:
        raise serializers.ValidationError({"tool_choice": NO_CHOICE})
    return ToolUse(
        tools=[tool for tool in fields["tools"] if choice.name in (None, tool.name)],
        tool_format=tool_format or PLAIN,
        required=choice.mode == "required",
        named=choice.name is not None,
        several=choice.name is None and fields["parallel_tool_calls"] is not False,
    )


def conversation(
    messages: tuple[dict[str, Any], ...], use: ToolUse | None, tool_format: ToolFormat | None
) -> Chat:
    """The conversation as the model's chat template takes it; the assistant's last message is continued."""
    tools = tuple(tool.as_sent() for tool in use.tools) if use else ()
    if tool_format is None:
        messages, tools = told_in_text(messages, tools), ()
    return replace(as_chat(messages), tools=tools)
