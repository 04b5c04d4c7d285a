"""The tokens of a model: what the tokenizer makes of a text, and which of them the model can compute."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from itertools import takewhile
from typing import TYPE_CHECKING

from inference.engine.errors import TokenWithoutEmbedding, listed
from inference.engine.token_bytes import TokenBytes, has_byte_fallback, is_byte

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class Kind(IntEnum):
    """What decoding does with a token.

    A `SKIPPED` token is left out: it is special, or the tokenizer does not have the id. A `BYTE` token is one
    byte of a run of such tokens (SentencePiece's byte fallback). Any other token is `TEXT`.
    """

    SKIPPED = 0
    TEXT = 1
    BYTE = 2


class Vocabulary:
    """A tokenizer, and how many of its tokens the model can compute.

    Args:
        rows: how many rows the model's embedding has; the model cannot compute a token whose id is not below.

    Attributes:
        special_ids: the special tokens' ids by their text.
        without_embedding: the text of the tokens that the model cannot compute, by id.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, rows: int) -> None:
        self._tokenizer = tokenizer
        self._rows = rows
        tokens: Mapping[str, int] = tokenizer.get_vocab()
        self.special_ids = _special_ids(tokenizer)
        self.without_embedding = {
            token_id: token
            for token, token_id in sorted(tokens.items(), key=lambda item: item[1])
            if token_id >= rows
        }
        self._kinds = _kinds(tokens, self.special_ids.values(), byte_fallback=has_byte_fallback(tokenizer))
        self._bytes = TokenBytes(tokenizer)

    def encode(self, text: str, *, special_tokens: bool = True) -> tuple[int, ...]:
        """The tokens of a text, with those that the tokenizer adds if they are wanted.

        It adds no BOS to a text that begins with BOS.
        """
        encoded = self._tokenizer(
            text, add_special_tokens=special_tokens, return_special_tokens_mask=True, verbose=False
        )
        token_ids: list[int] = encoded["input_ids"]
        # The mask is 1 for what the tokenizer added, and 0 for special tokens that the text itself contains.
        added = len(list(takewhile(bool, encoded["special_tokens_mask"])))
        if added and token_ids[added : 2 * added] == token_ids[:added]:
            token_ids = token_ids[added:]
        return tuple(token_ids)

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without the special ones."""
        text = self._tokenizer.decode(
            list(token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        assert isinstance(text, str)  # noqa: S101
        return text

    def kind(self, token_id: int) -> Kind:
        """What decoding does with a token; any id may be asked for."""
        return Kind(self._kinds[token_id]) if token_id < len(self._kinds) else Kind.SKIPPED

    def token_bytes(self, token_id: int) -> bytes:
        """The exact bytes of a token; any id may be asked for."""
        return self._bytes.of(token_id)

    def check(self, token_ids: Sequence[int]) -> None:
        """Raise TokenWithoutEmbedding if the model cannot compute one of the tokens."""
        for extreme in (min(token_ids, default=0), max(token_ids, default=0)):
            if not 0 <= extreme < self._rows:
                raise TokenWithoutEmbedding(self.without_embedding.get(extreme, str(extreme)))

    def warn_of_tokens_without_embedding(self) -> None:
        """Log, in one sentence, the tokens of the tokenizer that the model cannot compute."""
        if self.without_embedding:
            logger.warning(
                "The tokenizer has %d tokens for which the model's embedding has no row (%s): a prompt that "
                "contains one of them is refused.",
                len(self.without_embedding),
                listed(self.without_embedding.values()),
            )


def _special_ids(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    added = {str(token): i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    if tokenizer.is_fast:
        return added
    return added | dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))


def _kinds(tokens: Mapping[str, int], special_ids: Iterable[int], *, byte_fallback: bool) -> bytes:
    """The kind of each id, one byte each."""
    kinds = bytearray(max(tokens.values(), default=-1) + 1)
    for token, token_id in tokens.items():
        kinds[token_id] = Kind.BYTE if byte_fallback and is_byte(token) else Kind.TEXT
    for token_id in special_ids:
        kinds[token_id] = Kind.SKIPPED
    return bytes(kinds)
