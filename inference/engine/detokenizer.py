"""Tokens to text as they come: whole characters only, and stop strings found across token boundaries."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from inference.engine.vocabulary import Kind

_REPLACEMENT = "\ufffd"
_CONTEXT_TOKENS = 4
"""Tokens decoded again before new ones. Decoders look at no more than whether a token is the first, at the
token before it, and at the run of bytes in which it stands; an incomplete character has at most three
bytes."""
_LONGEST_WINDOW = 8


class Decoder(Protocol):
    """What is needed of a tokenizer."""

    @property
    def special_ids(self) -> Mapping[str, int]:
        """The special tokens' ids by their text."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of tokens, without the special ones."""
        ...

    def kind(self, token_id: int) -> Kind:
        """What decoding does with a token; any id may be asked for."""
        ...


class Detokenizer:
    """The growing text of one request.

    Args:
        prompt_ids: what the new tokens continue.
        stop: strings that end the text. One that is a special token's text is also found as that token,
            although special tokens have no text of their own.
        min_tokens: stop strings are searched for after this many tokens.
        may_end: whether a stop string may end the text here; asked about ever longer texts.

    Attributes:
        text: the new text so far that is final. Once `stopped`, it ends just before the stop string.
        stopped: a stop string has been found.
    """

    def __init__(
        self,
        decoder: Decoder,
        prompt_ids: tuple[int, ...],
        stop: tuple[str, ...] = (),
        *,
        min_tokens: int = 0,
        may_end: Callable[[str], bool] | None = None,
    ) -> None:
        self.text = ""
        self.stopped = False
        self._tokens = _TokenText(decoder, prompt_ids)
        self._unsearched_tokens = min_tokens
        self._stop: tuple[str, ...] = () if min_tokens else stop
        self._stop_later = stop
        self._special_ids = decoder.special_ids
        self._held = ""
        self._may_end = may_end
        self._asked = 0

    def append(self, token_id: int) -> str:
        """Take the next token; returns the text that became final with it, which may be empty.

        Text that may still change is held back: a character whose bytes are incomplete, a run of byte tokens,
        and what may be the beginning of a stop string.
        """
        if self._unsearched_tokens:
            return self._append_unsearched(token_id)
        if any(self._special_ids.get(string) == token_id for string in self._stop):
            piece = self.finish()
            self.stopped = True
            return piece
        piece = self._release(self._tokens.append(token_id))
        if self._stop and not self.stopped:
            unsettled = self._tokens.complete_run()
            if unsettled and self._stop_in(self._held + unsettled) is not None:
                self._asked = 0  # asked once more, about the same text
                piece += self._release(unsettled)
        return piece

    def _append_unsearched(self, token_id: int) -> str:
        self._unsearched_tokens -= 1
        piece = self._release(self._tokens.append(token_id))
        if not self._unsearched_tokens:
            self._stop = self._stop_later
        return piece

    def finish(self) -> str:
        """Take no more tokens; returns what was held back, the bytes of an incomplete character as U+FFFD."""
        if self.stopped:
            return ""
        piece = self._release(self._tokens.rest())
        if not self.stopped:
            piece += self._held
            self.text += self._held
            self._held = ""
        return piece

    def _release(self, piece: str) -> str:
        self._held += piece
        found = self._stop_in(self._held)
        if found is not None:
            self.stopped = True
            released = self._held[:found]
            self._held = ""
        else:
            end = len(self._held) - self._possible_stop()
            released, self._held = self._held[:end], self._held[end:]
        self.text += released
        return released

    def _stop_in(self, held: str) -> int | None:
        """Where the first stop string begins that ends the text; None if there is none."""
        for start in sorted({start for string in self._stop for start in _places(string, held)}):
            if self._may_end is None:
                return start
            place = len(self.text) + start
            if place >= self._asked:
                self._asked = place + 1
                if self._may_end(self.text + held[:start]):
                    return start
        return None

    def _possible_stop(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = max((len(string) for string in self._stop), default=0)
        for length in range(min(len(self._held), longest - 1), 0, -1):
            if any(string.startswith(self._held[-length:]) for string in self._stop):
                return length
        return 0


def _places(string: str, text: str) -> Iterator[int]:
    """Where the string begins in the text."""
    place = text.find(string)
    while place >= 0:
        yield place
        place = text.find(string, place + 1)


class _TokenText:
    """The text that tokens add to a prompt's: what `decode` of all tokens has beyond `decode` of the prompt.

    Only the last tokens are decoded again, the window. Its text grows by what the text of all tokens grows
    by, as long as the window begins with text of its own (a decoder may strip the space of the first token)
    and contains all that may still change:

    - a run of byte tokens. A decoder with byte fallback takes a run as a whole: if it is not valid UTF-8,
      each byte of it becomes a U+FFFD, also those of valid characters. Nothing of a run is final before a
      token of another kind ends it;
    - an incomplete character of a byte-level tokenizer, whose bytes become one U+FFFD at the end.

    `DecodeStream` of the tokenizers package releases characters before their run ends, and then raises an
    error if the run turns out to be invalid.

    If the prompt ends inside a character, the character counts as new text once it is complete. If new bytes
    make a run invalid that begins in the prompt, only the new bytes count as new text.
    """

    def __init__(self, decoder: Decoder, prompt_ids: tuple[int, ...]) -> None:
        self._decoder = decoder
        kept = [token_id for token_id in prompt_ids if decoder.kind(token_id) is not Kind.SKIPPED]
        run = 0
        while run < len(kept) and decoder.kind(kept[-1 - run]) is Kind.BYTE:
            run += 1
        before, begin = "", len(kept) - run
        while not before and begin > 0:
            begin = max(0, begin - _CONTEXT_TOKENS)
            before = decoder.decode(kept[begin : len(kept) - run])
        self._window = kept[begin:]
        self._in_run = run > 0
        whole = decoder.decode(self._window)
        self._bases = (whole, before + run * _REPLACEMENT, before) if run else _with_and_without_last(whole)
        """What the window's text begins with and is not new: the first of these that it does begin with."""

    def append(self, token_id: int) -> str:
        """Take the next token; returns the text that became final with it."""
        kind = self._decoder.kind(token_id)
        if kind is Kind.SKIPPED:
            return ""
        self._window.append(token_id)
        self._in_run = kind is Kind.BYTE
        if self._in_run:
            return ""
        settled = self._decoder.decode(self._window).removesuffix(_REPLACEMENT)
        piece = self._beyond_base(settled)
        if piece or settled.startswith(self._bases[0]):
            self._bases = (settled,)
            if len(self._window) > _LONGEST_WINDOW:
                self._shorten()
        return piece

    def complete_run(self) -> str:
        """The text since the last final one, if it is a run of bytes that ends with a whole character."""
        if not self._in_run:
            return ""
        decoded = self._decoder.decode(self._window)
        return "" if decoded.endswith(_REPLACEMENT) else self._beyond_base(decoded)

    def rest(self) -> str:
        """The text that would become final if no more tokens came."""
        return self._beyond_base(self._decoder.decode(self._window))

    def _beyond_base(self, text: str) -> str:
        base = next((base for base in self._bases if text.startswith(base)), self._bases[-1])
        return text[len(base) :]

    def _shorten(self) -> None:
        """Keep the last tokens of the window, as many as have a text."""
        count = _CONTEXT_TOKENS
        while count < len(self._window):
            text = self._decoder.decode(self._window[-count:])
            if text:
                self._window = self._window[-count:]
                self._bases = (text.removesuffix(_REPLACEMENT),)
                return
            count *= 2


def _with_and_without_last(text: str) -> tuple[str, ...]:
    """A text, and what is certain of it if its last character may be incomplete."""
    return (text, text[:-1]) if text.endswith(_REPLACEMENT) else (text,)
