"""What a tokenizer's response template says of calls of tools.

transformers reads answers with it (`parse_response`). It tells how to read, by regular expressions and in a
text with special tokens, not what a model may write. So no grammar follows from it in general: a format is
used here only if transformers reads from it exactly what was written.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from inference.engine.tool_format import ToolFormat, written_calls

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

_CALLS: list[tuple[str, dict[str, Any]]] = [("find_it", {"q": "a {b}", "n": [1]}), ("stop", {})]


def confirmed(tokenizer: "PreTrainedTokenizerBase", told: ToolFormat | None) -> ToolFormat | None:
    """The format of calls that the response template reads; `told` if the tokenizer has no such template.

    Args:
        told: the format that the chat template tells.
    """
    template = getattr(tokenizer, "response_template", None)
    if template is None:
        return told
    for candidate in _candidates(tokenizer, template, told):
        if not _reads(tokenizer, candidate, _CALLS[:1]):
            continue
        several = candidate.separator is not None and _reads(tokenizer, candidate, _CALLS)
        return candidate if several else replace(candidate, separator=None)
    logger.warning(
        "The tokenizer's response template reads calls of tools in a form that this service cannot enforce, "
        "so tool_choice “auto” is refused."
    )
    return None


def _candidates(
    tokenizer: "PreTrainedTokenizerBase", template: Any, told: ToolFormat | None
) -> Iterator[ToolFormat]:
    if told is not None:
        yield told
    match template:
        case {"fields": {"tool_calls": {"open": str(opening), "close": str(closing)}}}:
            # Their text is not shown, and a grammar lets one come at the beginning only.
            special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
            if special.isdisjoint((opening, closing)):
                yield _between(opening, closing, tokenizer.get_chat_template())


def _between(opening: str, closing: str, template: str) -> ToolFormat:
    """Calls as JSON between two texts, on lines of their own if the chat template writes them so."""
    lines = f"{opening}\n" in template or f"{opening}\\n" in template
    gap = "\n" if lines else ""
    return ToolFormat(
        opening=f'{opening}{gap}{{"name": "',
        closing=f"}}{gap}{closing}",
        separator="\n",
        trigger=opening,
        after_text=True,
    )


def _reads(
    tokenizer: "PreTrainedTokenizerBase", candidate: ToolFormat, calls: list[tuple[str, dict[str, Any]]]
) -> bool:
    written = written_calls(candidate, [(name, json.dumps(arguments)) for name, arguments in calls])
    try:
        message = tokenizer.parse_response(candidate.control + "".join(written), prefix="")
        functions = [call["function"] for call in message["tool_calls"]]
        return [(one["name"], one["arguments"]) for one in functions] == calls and not message.get("content")
    except Exception:  # a template may fail in any way on what it does not expect
        return False
