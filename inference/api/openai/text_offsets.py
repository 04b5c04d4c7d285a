"""Where each token begins in a text, in characters: a token need not be whole characters."""

import codecs

from inference.engine.backend import Backend


class TextOffsets:
    """The offsets of a text's tokens, as they come.

    A token that begins inside a character has the offset of that character. A special token has a text only
    if the text is known to contain it.

    Args:
        text: what is known of the text; what follows it is unknown.

    Attributes:
        end: the offset of the next token, unless that begins inside a character.
    """

    def __init__(self, backend: Backend, text: str = "") -> None:
        self.end = 0
        self._backend = backend
        self._text = text
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def of(self, token_id: int, token: bytes) -> int:
        """The offset of the next token."""
        token = self._shown(token_id, token)
        if token and not 0x80 <= token[0] < 0xC0:
            self.end += len(self._decoder.decode(b"", final=True))  # a character that stays incomplete
        begin = self.end
        self.end += len(self._decoder.decode(token))
        return begin

    def skip_known_text(self) -> None:
        """The next token follows the known text, whatever lengths the tokens of that had."""
        self.end = len(self._text)

    def _shown(self, token_id: int, token: bytes) -> bytes:
        # The last character of a token need not be whole.
        known = self._text.startswith(token.decode(errors="ignore"), self.end)
        if not known and token.strip() and self._backend.is_special(token_id):
            return b""  # special
        if not known and self.end < len(self._text) and token.startswith(b" "):
            return token[1:]  # a tokenizer may add spaces that the text does not have
        return token
