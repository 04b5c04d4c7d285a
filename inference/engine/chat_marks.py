"""Marks on what users wrote, to tell it from what a chat template wrote itself once both are one text.

A mark is another character in place of the user's: one of Unicode's private planes that the user's own text
does not contain. Whitespace is never marked, so that a template can trim.
"""

import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment

_PRIVATE_PLANES = range(0xF0000, 0x10FFFE)
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
_KEYS = frozenset({"role", "content", "type", "text", "name", "reasoning", "reasoning_content", "thinking"})


class NoMarksLeft(Exception):
    """The user's text itself contains characters of all of the private planes."""


@dataclass(frozen=True)
class Marks:
    """The marked characters, and the mark of each."""

    mark_of: Mapping[int, int]

    @property
    def character_of(self) -> Mapping[int, int]:
        return {mark: character for character, mark in self.mark_of.items()}

    def mark(self, text: str) -> str:
        return text.translate(self.mark_of)

    def remove(self, text: str) -> str:
        """The text as it was before it was marked."""
        return text.translate(self.character_of)


def marks_for(characters: Iterable[str], messages: Any) -> Marks:
    """A mark for each character, none of which occurs in the messages.

    Raises:
        NoMarksLeft: there are not that many.
    """
    wanted = sorted({ord(character) for character in characters if not character.isspace()})
    taken = {ord(character) for text in _strings(messages) for character in text if ord(character) > 0xFFFF}
    free = (code for code in _PRIVATE_PLANES if code not in taken)
    mark_of = dict(zip(wanted, free, strict=False))
    if len(mark_of) < len(wanted):
        raise NoMarksLeft
    return Marks(mark_of)


class Marker:
    """Marks the strings of messages that a template could make a control token of.

    Args:
        control_texts: the texts of the control tokens.
        special: which of them are special tokens.
        template: the chat template. Words that it compares with are never marked.
    """

    def __init__(self, control_texts: Iterable[str], template: str, *, special: Container[str]) -> None:
        self._control_texts = tuple(control_texts)
        self._words = _words(template)
        self._every_character = frozenset("".join(self._control_texts))
        self._first_characters = frozenset(text[0] for text in self._control_texts)
        fragments = {text[i:] for text in self._control_texts for i in range(1, len(text))}
        self._fragment = _any_of(fragments)
        self._not_special = _any_of(text for text in self._control_texts if text not in special)

    def marks(self, messages: Any) -> Marks:
        """Marks for whatever these messages need."""
        return marks_for(self._every_character, messages)

    def thoroughly(self, messages: Any, marks: Marks) -> Any:
        """Mark every character that occurs in a control token."""
        return self._apply(messages, marks.mark)

    def sparsely(self, messages: Any, marks: Marks) -> Any:
        """Mark one character of whatever is, or could be completed to, the text of a control token.

        These are the first characters of control tokens, the end of one where a string begins with it, and
        strings that are a part of one. What a template looks for in a content is then less often marked.
        """
        return self._apply(messages, lambda text: self._mark_sparsely(text, marks))

    def leniently(self, messages: Any, marks: Marks) -> Any:
        """The same without marks on whole tokens that are not special: a template may look for them."""
        return self._apply(
            messages,
            lambda text: "".join(
                part if i % 2 else self._mark_sparsely(part, marks)
                for i, part in enumerate(self._not_special.split(text))
            ),
        )

    def _mark_sparsely(self, text: str, marks: Marks) -> str:
        stripped = text.strip()
        if any(stripped in control for control in self._control_texts):
            return marks.mark(text)
        begun = self._fragment.match(text, len(text) - len(text.lstrip()))
        end = begun.end() if begun else 0
        mark_of = {code: mark for code, mark in marks.mark_of.items() if chr(code) in self._first_characters}
        return marks.mark(text[:end]) + text[end:].translate(mark_of)

    def _apply(self, value: Any, mark: Callable[[str], str], *, key: str = "") -> Any:
        if isinstance(value, str):
            return value if value in (_ROLES if key == "role" else self._words) else mark(value)
        if isinstance(value, Mapping):
            return {
                (name if name in _KEYS or name in self._words else mark(name)): self._apply(
                    one, mark, key=name
                )
                for name, one in value.items()
            }
        if isinstance(value, Sequence):
            return [self._apply(one, mark, key=key) for one in value]
        return value


def _any_of(texts: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(texts, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, longest_first)) or '(?!)'})")


def _words(template: str) -> frozenset[str]:
    """The names and the quoted words of a template."""
    tokens = [(kind, value) for _, kind, value in Environment().lex(template)]  # noqa: S701 - nothing is rendered
    words = {
        value[1:-1] if kind == "string" else value for kind, value in tokens if kind in {"string", "name"}
    }
    return frozenset(word for word in words if re.fullmatch(r"\w+", word))


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield name
            yield from _strings(one)
    elif isinstance(value, Sequence):
        for one in value:
            yield from _strings(one)
