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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from inference.engine.chat_marks import Marker, Marks, NoMarksLeft
from inference.engine.control_tokens import ControlTokens, Place
from inference.engine.errors import InvalidChat
from inference.engine.request import Chat
from inference.engine.response_template import confirmed
from inference.engine.tool_format import ToolFormat, tool_format_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Written = list[list[Any]]
"""What users wrote: the messages, and the tools."""


class ChatPrompt:
    """The chat template of a tokenizer that has one.

    Attributes:
        tool_format: how the model writes calls of tools; None if the templates do not tell.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        template = tokenizer.get_chat_template()
        self._control = ControlTokens(tokenizer, template)
        self._marker = Marker(self._control.ids, template, special=self._control.special)
        self._knows_developer = "developer" in template
        self.tool_format = confirmed(tokenizer, self._tool_format(template))

    def encode(self, chat: Chat) -> tuple[int, ...]:
        """The tokens of a conversation, up to where the answer begins or goes on.

        Raises:
            InvalidChat: the template cannot lay out these messages.
        """
        messages = [self._message(message) for message in chat.messages]
        if chat.continue_final_message and (not messages or messages[-1].get("role") != "assistant"):
            raise InvalidChat("Only a last message of the assistant can be continued.")
        written = [messages, [dict(tool) for tool in chat.tools]]
        plain = self._render(written, chat)
        try:
            marks = self._marker.marks(written)
        except NoMarksLeft as error:
            raise InvalidChat("The messages contain too many of Unicode's private characters.") from error
        layout = self._layout(written, marks, chat=chat, plain=plain)
        if layout.refused:
            return self._control.encode(layout.text, layout.places)
        return self._control.encode_all(layout.text, layout.places)

    def _tool_format(self, template: str) -> ToolFormat | None:
        known = tool_format_of(template)
        if known is None or not known.control:
            return known
        control_id = self._control.ids.get(known.control)
        if control_id is None:
            return None
        if known.control in self._control.special:
            return replace(known, control_id=control_id)
        # The text shows a token that is not special.
        return replace(known, control="", begin=known.control + known.begin, trigger=known.control)

    def _layout(self, written: Written, marks: Marks, *, chat: Chat, plain: str) -> "_Layout":
        try:
            thorough = self._read(self._marker.thoroughly(written, marks), marks, chat)
        except InvalidChat:
            thorough = None  # the template accepts only messages in which it finds something
        if thorough and thorough.text == plain:
            return thorough
        sparse = self._read(self._marker.sparsely(written, marks), marks, chat)
        surest = thorough or sparse
        if sparse.text != plain:
            lenient = self._read(self._marker.leniently(written, marks), marks, chat)
            if lenient.text == plain and lenient.controls == surest.controls:
                return lenient
        return sparse if sparse.controls == surest.controls else surest

    def _read(self, marked_written: Written, marks: Marks, chat: Chat) -> "_Layout":
        """Lay out what was marked, and tell the template's control tokens from the users' text."""
        marked = self._render(marked_written, chat)
        text = marks.remove(marked)

        def of_the_template(place: Place) -> bool:
            return marked[place.start : place.end] == place.text

        places, refused = self._control.find(text, of_the_template)
        return _Layout(text, places, refused)

    def _message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if message.get("role") == "developer" and not self._knows_developer:
            return {**message, "role": "system"}
        return dict(message)

    def _render(self, written: Written, chat: Chat) -> str:
        messages, tools = written
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    messages,
                    tools=tools or None,
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
