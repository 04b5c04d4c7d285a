"""Prompts to token ids, and token ids to text."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from jinja2 import TemplateError

from inference.engine.detokenizer import Decoder
from inference.engine.errors import InvalidChat
from inference.engine.request import Chat, Prompt
from inference.engine.vocabulary import Kind, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Tokenizer(Decoder, Protocol):
    """What the engine needs of a tokenizer."""

    @property
    def vocabulary_size(self) -> int:
        """How many token ids the model can compute, from 0."""
        ...

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        """The prompt's token ids, with the special tokens that the model expects around it.

        Raises:
            TokenWithoutEmbedding: the model cannot compute one of the tokens.
            InvalidChat: the model's chat template cannot lay out the conversation.
        """
        ...

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of a token; any id may be asked for."""
        ...


class HuggingFaceTokenizer:
    """A model's own tokenizer and chat template.

    Args:
        rows: how many rows the model's embedding has.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, rows: int) -> None:
        self._tokenizer = tokenizer
        self.vocabulary_size = rows
        self._vocabulary = Vocabulary(tokenizer, rows=rows)
        self._vocabulary.warn_of_tokens_without_embedding()
        self.special_ids: Mapping[str, int] = self._vocabulary.special_ids

    def encode(self, prompt: Prompt) -> tuple[int, ...]:
        match prompt:
            case str():
                token_ids = self._vocabulary.encode(prompt)
            case Chat():
                token_ids = self._encode_chat(prompt)
            case _:
                token_ids = prompt
        self._vocabulary.check(token_ids)
        return token_ids

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._vocabulary.decode(token_ids)

    def kind(self, token_id: int) -> Kind:
        return self._vocabulary.kind(token_id)

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.token_bytes(token_id)

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
