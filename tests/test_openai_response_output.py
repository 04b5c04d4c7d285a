"""The items of a response and the events of its stream, however the text is cut into pieces."""

from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference.api.openai.logprobs import ChatLogprobs
from inference.api.openai.responses.output import Output
from inference.api.openai.tool_use import ToolUse
from inference.api.openai.tools import Tool
from inference.engine.engine import Engine
from inference.engine.generation import Event
from inference.engine.tool_format import HERMES

TOOL = Tool("find", "", {"type": "object"}, "[0].parameters")
USE = ToolUse(tools=[TOOL], tool_format=HERMES, required=False, named=False, several=True)
CALL = '<tool_call>\n{"name": "find", "arguments": {"q": "é}"}}\n</tool_call>'


def read(engine: Engine, pieces: list[str], *, finish_reason: Any = "stop") -> tuple[Output, list[Any]]:
    output = Output(USE, ChatLogprobs(engine))
    changes = []
    for number, piece in enumerate(pieces, start=1):
        ended = finish_reason if number == len(pieces) else None
        changes += list(output.changes(Event(text=piece, token_ids=(), finish_reason=ended)))
    return output, changes


def shape(output: Output) -> list[tuple[str, str, str]]:
    return [
        (item["type"], item["status"], item.get("arguments") or item["content"][0]["text"])
        for item in output.items
    ]


@given(text=st.sampled_from(["", "Let me see.\n", "a < b <tool_"]), cuts=st.sets(st.integers(1, 150)))
def test_text_is_a_message_before_the_calls(engine: Engine, text: str, cuts: set[int]) -> None:
    whole = f"{text}{CALL}\n{CALL}"
    places = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    pieces = [whole[start:end] for start, end in pairwise(places)]
    output, changes = read(engine, pieces)
    calls = [("function_call", "completed", '{"q": "é}"}')] * 2
    assert shape(output) == ([("message", "completed", text)] if text else []) + calls
    assert len({item["id"] for item in output.items}) == len(output.items)
    done = [data for name, data in changes if name == "response.output_item.done"]
    assert done == [{"output_index": index, "item": item} for index, item in enumerate(output.items)]


def test_only_the_item_that_is_cut_is_incomplete(engine: Engine) -> None:
    output, _ = read(engine, [f"Well{CALL}\n{CALL[:50]}"], finish_reason="length")
    assert [status for _, status, _ in shape(output)] == ["completed", "completed", "incomplete"]
    assert output.status == "incomplete"


def test_an_answer_without_text_is_an_empty_message(engine: Engine) -> None:
    assert shape(read(engine, [""])[0]) == [("message", "completed", "")]
    assert shape(read(engine, ["<tool_"])[0]) == [("message", "completed", "<tool_")]
