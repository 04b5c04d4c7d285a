"""The exact bytes of single tokens: joined, those of a text's tokens are the bytes of the text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TokenBytes:
    """The bytes that each token of a tokenizer stands for.

    What is not a token's own is left out: a decoder may strip the space of the first token of a text, or the
    space before a full stop.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase") -> None:
        self._tokenizer = tokenizer
        self._byte_level = _decodes_with(tokenizer, "ByteLevel")
        self._byte_fallback = has_byte_fallback(tokenizer)
        self._added = {i: str(token) for i, token in tokenizer.added_tokens_decoder.items()}
        self._special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._known: dict[int, bytes] = {}

    def of(self, token_id: int) -> bytes:
        """The bytes of a token, a special one's too; none for an id that the tokenizer does not have."""
        known = self._known.get(token_id)
        if known is None:
            known = self._known[token_id] = self._compute(token_id)
        return known

    def _compute(self, token_id: int) -> bytes:
        if token_id in self._special:
            return self._added[token_id].encode()
        token = self._tokenizer.convert_ids_to_tokens(token_id) if token_id < len(self._tokenizer) else None
        if not isinstance(token, str):
            return b""
        if self._byte_fallback and is_byte(token):
            return bytes([int(token[3:5], 16)])
        if self._byte_level:
            # As the decoder does it, for added tokens too: a token with any other character is its own text.
            own = [_BYTE_OF.get(character) for character in token]
            return token.encode() if None in own else bytes(byte for byte in own if byte is not None)
        return self._after_itself(token_id).encode()

    def _after_itself(self, token_id: int) -> str:
        """What the token adds to a text that it does not begin."""
        once, twice = self._decode([token_id]), self._decode([token_id, token_id])
        return twice.removeprefix(once) if twice.startswith(once) else once

    def _decode(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode(token_ids, clean_up_tokenization_spaces=False))


def has_byte_fallback(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether tokens such as `<0x0A>` are bytes."""
    # The code of a slow tokenizer does not tell; if it has none, no token looks like a byte.
    return not tokenizer.is_fast or _decodes_with(tokenizer, "ByteFallback")


def is_byte(token: str) -> bool:
    """Whether a token is written as SentencePiece writes a byte."""
    return len(token) == 6 and token.startswith("<0x") and token.endswith(">")


def _decodes_with(tokenizer: "PreTrainedTokenizerBase", part: str) -> bool:
    if not tokenizer.is_fast:
        return False
    decoder = tokenizer.backend_tokenizer.decoder
    return decoder is not None and f'"{part}"'.encode() in decoder.__getstate__()


def _bytes_of_characters() -> dict[str, int]:
    """The byte that each character stands for in a byte-level vocabulary, as GPT-2 defined it."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _bytes_of_characters()
