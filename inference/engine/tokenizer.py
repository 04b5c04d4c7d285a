"""Prompts to token ids, and token ids to text."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import TemplateError

from inference.engine.errors import InvalidChat
from inference.engine.request import Chat, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Tokenizer(Protocol):
    """What the engine needs of a tokenizer."""

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt's token ids, with the special tokens that the model expects around it.

        Raises:
            InvalidChat: the model's chat template cannot lay out the conversation.
        """
        ...

    def decode(self, token_ids: Iterable[int]) -> str:
        """The text of the tokens, without special ones."""
        ...


class HuggingFaceTokenizer:
    """A model's own tokenizer and chat template."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        match prompt:
            case str():
                return tuple(self._tokenizer(prompt, verbose=False)["input_ids"])
            case Chat():
                return self._encode_chat(prompt)
            case _:
                return prompt

    def decode(self, token_ids: Iterable[int]) -> str:
        text = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)  # noqa: S101
        return text

    def _encode_chat(self, chat: Chat) -> tuple[int, ...]:
        if not self._tokenizer.chat_template:
            raise InvalidChat("This model has no chat template: send a text prompt.")
        messages: Any = [dict(message) for message in chat.messages]
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except TemplateError as error:
            raise InvalidChat(f"The model's chat template rejects these messages: {error}") from error
        # The template writes the special tokens itself.
        return tuple(self._tokenizer(str(text), add_special_tokens=False, verbose=False)["input_ids"])
