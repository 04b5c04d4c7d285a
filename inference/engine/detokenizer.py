"""Tokens to text as they come: whole characters only, and stop strings found across token boundaries."""

from inference.engine.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"
_CONTEXT_TOKENS = 6
"""How many tokens are decoded again before each new one: with some tokenizers a token's text depends on its
predecessors."""


class Detokenizer:
    """The growing text of one request.

    Args:
        prompt_ids: what the new tokens continue.
        stop: strings that end the text.

    Attributes:
        text: the new text so far that is final. Once `stopped`, it ends just before the stop string.
        stopped: a stop string has been found.
    """

    def __init__(self, tokenizer: Tokenizer, prompt_ids: tuple[int, ...], stop: tuple[str, ...] = ()) -> None:
        self.text = ""
        self.stopped = False
        self._decode = tokenizer.decode
        self._stop = stop
        self._held = ""
        self._window = list(prompt_ids[-_CONTEXT_TOKENS:])
        self._decoded = self._decode(self._window)

    def append(self, token_id: int) -> str:
        """Take the next token; returns the text that became final with it, which may be empty.

        Text that may still change is held back: a character whose bytes are incomplete, and what may be the
        beginning of a stop string.
        """
        self._window.append(token_id)
        decoded = self._decode(self._window)
        if decoded.endswith(_REPLACEMENT):
            return ""
        piece = decoded[len(self._decoded) :]
        self._window = self._window[-_CONTEXT_TOKENS:]
        self._decoded = self._decode(self._window)
        return self._release(piece)

    def finish(self) -> str:
        """Take no more tokens; returns what was held back, the bytes of an incomplete character as U+FFFD."""
        if self.stopped:
            return ""
        piece = self._release(self._decode(self._window)[len(self._decoded) :])
        if not self.stopped:
            piece += self._held
            self.text += self._held
            self._held = ""
        return piece

    def _release(self, piece: str) -> str:
        self._held += piece
        found = [index for index in (self._held.find(string) for string in self._stop) if index >= 0]
        if found:
            self.stopped = True
            released = self._held[: min(found)]
            self._held = ""
        else:
            end = len(self._held) - self._possible_stop()
            released, self._held = self._held[:end], self._held[end:]
        self.text += released
        return released

    def _possible_stop(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max((len(string) for string in self._stop), default=0)
        for length in range(min(len(self._held), longest - 1), 0, -1):
            if any(string.startswith(self._held[-length:]) for string in self._stop):
                return length
        return 0
