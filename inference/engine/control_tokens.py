"""The control tokens of a model: texts that its tokenizer turns into one token wherever they stand.

Here only those at given places become control tokens. The same text elsewhere is split into ordinary tokens,
by a copy of the tokenizer in which the control tokens have names that nobody can guess.
"""

import json
import re
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer

from inference.engine.errors import InvalidChat

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Place:
    """Where the text of a control token stands in another."""

    start: int
    end: int
    text: str


class ControlTokens:
    """The control tokens of a tokenizer: special ones, those that the template writes, those it declares.

    Attributes:
        special: the texts of those that are special.
        ids: by text. The token for unknown text is none of them: ordinary text becomes it.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", template: str) -> None:
        self._tokenizer = tokenizer
        declared = frozenset(tokenizer.chat_control_tokens or ())
        self.ids: Mapping[str, int] = {
            token.content: token_id
            for token_id, token in tokenizer.added_tokens_decoder.items()
            if token.content.strip()
            and (token.special or token.content in template or token.content in declared)
        }
        added = tokenizer.added_tokens_decoder.values()
        self.special = frozenset(token.content for token in added if token.special)
        self._id_set = set(self.ids.values()) - {tokenizer.unk_token_id}
        self._longest_first = sorted(self.ids, key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, self._longest_first)) or "(?!)")
        self._renamed: _Renamed | None = None
        self._lock = threading.Lock()

    def find(self, text: str, allowed: Callable[[Place], bool]) -> tuple[list[Place], list[Place]]:
        """The places that are allowed, which do not overlap, and those that are not."""
        found: list[Place] = []
        refused: list[Place] = []
        position = 0
        while match := self._any.search(text, position):
            start = match.start()
            places = [
                Place(start, start + len(control), control)
                for control in self._longest_first
                if text.startswith(control, start)
            ]
            first = next((place for place in places if allowed(place)), None)
            if first is None:
                refused += places
            else:
                found.append(first)
            position = start + 1 if first is None else first.end
        return found, refused

    def encode(self, text: str, places: Sequence[Place]) -> tuple[int, ...]:
        """The tokens of a text in which the control tokens at `places`, and no others, are control tokens.

        Raises:
            InvalidChat: this tokenizer makes control tokens of other parts of the text.
        """
        expected = self._count([self.ids[place.text] for place in places])
        with self._lock:
            self._renamed = self._renamed or _Renamed(self._tokenizer, self.ids)
        token_ids = self._renamed.encode(text, places)
        if self._count(token_ids) != expected:
            raise InvalidChat(_REFUSED)
        return token_ids

    def encode_all(self, text: str, places: Sequence[Place]) -> tuple[int, ...]:
        """The tokens of a text that contains control tokens at `places` and nowhere else.

        Raises:
            InvalidChat: this tokenizer makes control tokens of other parts of the text.
        """
        # The template writes the tokens itself that other texts begin with.
        token_ids = tuple(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        if self._count(token_ids) == self._count([self.ids[place.text] for place in places]):
            return token_ids
        return self.encode(text, places)  # it makes them of other spellings as well

    def _count(self, token_ids: Sequence[int]) -> int:
        return sum(token_id in self._id_set for token_id in token_ids)


class _Renamed:
    """A copy of a tokenizer in which its control tokens have other names.

    Raises:
        InvalidChat: there is no such copy of this kind of tokenizer.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", ids: Mapping[str, int]) -> None:
        secret = secrets.token_hex(16)
        self._names = {text: f"{secret}x{token_id}x" for text, token_id in ids.items()}
        if not tokenizer.is_fast:
            raise InvalidChat(_REFUSED)
        definition: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
        definition |= {"truncation": None, "padding": None, "post_processor": None}
        for token in definition["added_tokens"]:
            token["content"] = self._renamed(token["content"])
        model = definition["model"]
        if isinstance(model["vocab"], dict):
            model["vocab"] = {self._renamed(token): i for token, i in model["vocab"].items()}
        else:
            model["vocab"] = [[self._renamed(token), score] for token, score in model["vocab"]]
        if model.get("unk_token"):
            model["unk_token"] = self._renamed(model["unk_token"])
        try:
            self._copy = Tokenizer.from_str(json.dumps(definition))
        except Exception as error:  # the package raises this very class
            raise InvalidChat(_REFUSED) from error
        if any(self._copy.token_to_id(self._names[text]) != token_id for text, token_id in ids.items()):
            raise InvalidChat(_REFUSED)

    def encode(self, text: str, places: Sequence[Place]) -> tuple[int, ...]:
        parts, position = [], 0
        for place in places:
            parts += [text[position : place.start], self._names[place.text]]
            position = place.end
        renamed = "".join([*parts, text[position:]])
        return tuple(self._copy.encode(renamed, add_special_tokens=False).ids)

    def _renamed(self, token: str) -> str:
        return self._names.get(token, token)


_REFUSED = (
    "The messages contain the text of one of this model's control tokens, which its tokenizer cannot read as "
    "ordinary text: remove it."
)
