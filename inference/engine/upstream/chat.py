"""A conversation, its tools and their calls as OpenAI's API sends them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from inference.engine.errors import UpstreamRefused
from inference.engine.grammar.calls import Calls
from inference.engine.grammar.source import Grammar
from inference.engine.request import Chat
from inference.engine.upstream.dialect import Dialect


def chat_fields(chat: Chat, dialect: Dialect) -> dict[str, Any]:
    """The fields for the conversation, without its tools.

    Raises:
        UpstreamRefused: the engine cannot continue the assistant's message.
    """
    fields: dict[str, Any] = {"messages": [_as_sent(message) for message in chat.messages]}
    if not chat.continue_final_message:
        return fields
    if dialect.continues == "no":
        raise UpstreamRefused(
            "messages: the engine behind this service cannot continue a message of the assistant.",
            field="messages",
        )
    if dialect.continues == "by a field":
        fields |= {"continue_final_message": True, "add_generation_prompt": False}
    return fields


def tool_fields(chat: Chat, calls: Calls | None) -> dict[str, Any]:
    """The fields for the tools of the conversation."""
    if calls is None:
        return {}
    return {
        "tools": [dict(tool) for tool in chat.tools],
        "tool_choice": "required" if calls.required else "auto",
        "parallel_tool_calls": calls.several,
    }


def calls_of(grammar: Grammar | None) -> Calls | None:
    """What the grammar says of calls of tools; None if it is another."""
    return None if grammar is None or grammar.kind != "calls" else Calls.parse(grammar.source)


def shown_texts(chat: Chat) -> Iterator[str]:
    """The texts in the conversation."""
    for message in chat.messages:
        yield str(message.get("content") or "")


def _as_sent(message: Mapping[str, object]) -> dict[str, object]:
    sent = dict(message)
    if sent["role"] == "tool":
        sent.pop("name", None)  # it came from the call, and OpenAI's API does not have it
    calls: Any = sent.get("tool_calls")
    if calls:
        sent["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.dumps(call["function"]["arguments"])}}
            for call in calls
        ]
    return sent
