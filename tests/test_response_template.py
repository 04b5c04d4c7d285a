"""A tokenizer's response template confirms how calls are written, or tells it."""

from typing import Any

import pytest

from inference.engine.response_template import confirmed
from inference.engine.tool_format import HERMES, LLAMA, ToolFormat
from tests.models import END_OF_TEXT, byte_tokenizer


def template(**tool_calls: Any) -> dict[str, Any]:
    """In the manner of Qwen's."""
    return {
        "defaults": {"role": "assistant"},
        "start_anchor": "<|im_start|>assistant\n",
        "fields": {
            "reasoning_content": {"open": "<think>", "close": "</think>"},
            "tool_calls": {
                "repeats": True,
                "content": "json",
                "transform": {"type": "function", "function": "{content}"},
                **tool_calls,
            },
            "content": {"close_pattern": r"\s*<\|im_end\|>"},
        },
    }


def format_of(
    response_template: Any, told: ToolFormat | None, *, chat_template: str = ""
) -> ToolFormat | None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = chat_template or "{{ messages }}"
    tokenizer.response_template = response_template
    return confirmed(tokenizer, told)


QWEN = template(open_pattern=r"\s*<tool_call>", close="</tool_call>")


@pytest.mark.parametrize("told", [HERMES, LLAMA, None])
def test_without_a_response_template_the_chat_template_decides(told: ToolFormat | None) -> None:
    assert format_of(None, told) is told


def test_a_format_that_it_reads_is_confirmed() -> None:
    assert format_of(QWEN, HERMES) == HERMES


def test_a_format_that_it_reads_otherwise_is_not_used(caplog: pytest.LogCaptureFixture) -> None:
    for told in (LLAMA, None):
        assert format_of(QWEN, told) is None
    assert "auto" in caplog.text


@pytest.mark.parametrize(("chat_template", "gap"), [("{{ '<call>\\n' }}", "\n"), ("<call>{}", "")])
def test_it_tells_a_format_that_nobody_knew(chat_template: str, gap: str) -> None:
    found = format_of(template(open="<call>", close="</call>"), None, chat_template=chat_template)
    assert found is not None
    assert (found.opening, found.closing) == (f'<call>{gap}{{"name": "', f"}}{gap}</call>")
    assert (found.trigger, found.after_text) == ("<call>", True)


@pytest.mark.parametrize(
    "other",
    [
        template(open=END_OF_TEXT, close="</call>"),
        template(
            open="<call>",
            close="</call>",
            content="xml-inline",
            content_args={"tag_pattern": "(?P<key>a)(?P<value>b)"},
        ),
        template(open="<call>", close="</call>", transform={"called": "{content}"}),
        {"fields": {}},
    ],
)
def test_a_form_that_cannot_be_enforced_is_none(other: Any) -> None:
    assert format_of(other, None) is None
