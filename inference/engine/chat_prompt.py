"""Conversations to token ids, by the model's chat template; what users write never becomes a control token.

The template is rendered twice: with the messages as they are, and with marks in place of the users'
characters. If both agree, the marks tell who wrote each character of the text. The text of a control token
becomes that token only if no character of it is a user's; otherwise it is split into ordinary tokens.

They disagree if the template looks for a text in a message and a mark hides it. Then fewer characters are
marked, and that reading counts unless it has other control tokens. So a template can leave out what precedes
an assistant's `</think>`. What a mark still hides, the template does not find: it treats the message as if
that text were not there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from inference.engine.chat_marks import Marker, Marks, NoMarksLeft
from inference.engine.control_tokens import ControlTokens, Place
from inference.engine.errors import InvalidChat
from inference.engine.request import Chat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Messages = list[dict[str, Any]]


class ChatPrompt:
    """The chat template of a tokenizer that has one."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        template = tokenizer.get_chat_template()
        self._control = ControlTokens(tokenizer, template)
        self._marker = Marker(self._control.ids, template, special=self._control.special)
        self._knows_developer = "developer" in template

    def encode(self, chat: Chat) -> tuple[int, ...]:
        """The tokens of a conversation, up to where the answer begins or goes on.

        Raises:
            InvalidChat: the template cannot lay out these messages.
        """
        messages = [self._message(message) for message in chat.messages]
        if chat.continue_final_message and (not messages or messages[-1].get("role") != "assistant"):
            raise InvalidChat("Only a last message of the assistant can be continued.")
        plain = self._render(messages, chat)
        try:
            marks = self._marker.marks(messages)
        except NoMarksLeft as error:
            raise InvalidChat("The messages contain too many of Unicode's private characters.") from error
        layout = self._layout(messages, marks, chat=chat, plain=plain)
        if layout.refused:
            return self._control.encode(layout.text, layout.places)
        return self._control.encode_all(layout.text, layout.places)

    def _layout(self, messages: Messages, marks: Marks, *, chat: Chat, plain: str) -> "_Layout":
        try:
            thorough = self._read(self._marker.thoroughly(messages, marks), marks, chat)
        except InvalidChat:
            thorough = None  # the template accepts only messages in which it finds something
        if thorough and thorough.text == plain:
            return thorough
        sparse = self._read(self._marker.sparsely(messages, marks), marks, chat)
        surest = thorough or sparse
        if sparse.text != plain:
            lenient = self._read(self._marker.leniently(messages, marks), marks, chat)
            if lenient.text == plain and lenient.controls == surest.controls:
                return lenient
        return sparse if sparse.controls == surest.controls else surest

    def _read(self, marked_messages: Messages, marks: Marks, chat: Chat) -> "_Layout":
        """Lay out marked messages, and tell the template's control tokens from the users' text."""
        marked = self._render(marked_messages, chat)
        text = marks.remove(marked)

        def of_the_template(place: Place) -> bool:
            return marked[place.start : place.end] == place.text

        places, refused = self._control.find(text, of_the_template)
        return _Layout(text, places, refused)

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if message.get("role") == "developer" and not self._knows_developer:
            return {**message, "role": "system"}
        return dict(message)

    def _render(self, messages: Messages, chat: Chat) -> str:
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages,
                    add_generation_prompt=chat.add_generation_prompt and not chat.continue_final_message,
                    continue_final_message=chat.continue_final_message,
                    tokenize=False,
                )
            )
        except (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InvalidChat(f"The model's chat template rejects these messages: {reason}") from error


@dataclass(frozen=True)
class _Layout:
    """A rendered conversation, the control tokens in it, and the texts of such that are users'."""

    text: str
    places: list[Place]
    refused: list[Place]

    @property
    def controls(self) -> list[str]:
        return [place.text for place in self.places]
