"""Prompts to token ids, and token ids to text."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from jinja2 import TemplateError

from inference.engine.chat_prompt import ChatPrompt
from inference.engine.detokenizer import Decoder
from inference.engine.errors import InvalidChat
from inference.engine.prompt_bound import prompt_bound
from inference.engine.request import Chat, Prompt
from inference.engine.vocabulary import Kind, Vocabulary

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


logger = logging.getLogger(__name__)


class Tokenizer(Decoder, Protocol):
    """What the engine needs of a tokenizer."""

    @property
    def vocabulary_size(self) -> int:
        """How many token ids the model can compute, from 0."""
        ...

    def encode(self, prompt: Prompt, *, special_tokens: bool = True) -> tuple[int, ...]:
        """The prompt's token ids; a text's with the special tokens that the model expects around it.

        Raises:
            TokenWithoutEmbedding: the model cannot compute one of the tokens.
            InvalidChat: the model's chat template cannot lay out the conversation.
        """
        ...

    def least_tokens(self, prompt: Prompt) -> int:
        """The fewest tokens that the prompt can have, without tokenising it; 0 if that is unknown."""
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
        self._least_tokens = prompt_bound(tokenizer)
        self._chat = _chat_prompt(tokenizer)
        self.special_ids: Mapping[str, int] = self._vocabulary.special_ids

    def encode(self, prompt: Prompt, *, special_tokens: bool = True) -> tuple[int, ...]:
        match prompt:
            case str():
                token_ids = self._vocabulary.encode(prompt, special_tokens=special_tokens)
            case Chat():
                if self._chat is None:
                    raise InvalidChat("This model has no chat template: send a text prompt.")
                token_ids = self._chat.encode(prompt)
            case _:
                token_ids = prompt
        self._vocabulary.check(token_ids)
        return token_ids

    def least_tokens(self, prompt: Prompt) -> int:
        match prompt:
            case str():
                return self._least_tokens(prompt)
            case Chat():
                return 0  # a template may leave out messages
            case _:
                return len(prompt)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self._vocabulary.decode(token_ids)

    def kind(self, token_id: int) -> Kind:
        return self._vocabulary.kind(token_id)

    def token_bytes(self, token_id: int) -> bytes:
        return self._vocabulary.token_bytes(token_id)


def _chat_prompt(tokenizer: "PreTrainedTokenizerBase") -> ChatPrompt | None:
    if not tokenizer.chat_template:
        return None
    try:
        return ChatPrompt(tokenizer)
    except (TemplateError, ValueError) as error:
        logger.warning("The model's chat template cannot be read, so conversations are refused: %s", error)
        return None
