"""Numbers that a client can read: none is beyond the largest floating-point number.

llguidance's grammar of a number has an exponent of any length, and no option that bounds it.
"""

import math
import re
from collections.abc import Sequence

_CHARACTERS = b"0123456789.eE+-"
_NUMBER = re.compile(r"-?(?P<integer>[0-9]+)(?:\.[0-9]*)?(?P<exponent>[eE][+-]?[0-9]*)?")
_EXPONENT = re.compile(r"[eE]\+?[0-9]")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_DIGITS = 308
"""An integer of this many digits is never too large."""


def is_finite(number: str) -> bool:
    """Whether a JSON number can be read as a finite floating-point number."""
    return math.isfinite(float(number))


def in_string(json_text: str) -> bool:
    """Whether the beginning of a JSON text ends within a string."""
    return '"' in _STRING.sub("", json_text)


def number_at_end(text: bytes | bytearray) -> str:
    """The number, complete or not, that a text ends with; "" if there is none."""
    if text[-1:] not in _CHARACTERS:
        return ""
    tail = text[len(text.rstrip(_CHARACTERS)) :].decode()
    return tail if _NUMBER.fullmatch(tail) else ""


class Overflows:
    """Which tokens of a vocabulary make a number too large.

    Attributes:
        alone: those that contain a number which is too large, whatever comes before it.
    """

    def __init__(self, tokens: Sequence[bytes]) -> None:
        self._digits: dict[int, str] = {}
        alone = []
        for token_id, token in enumerate(tokens):
            length = len(token) - len(token.lstrip(_CHARACTERS))
            if length:
                self._digits[token_id] = token[:length].decode()
            if any(_overflows(number) for number in _NUMBER.finditer(token.decode(errors="replace"))):
                alone.append(token_id)
        self.alone = tuple(alone)
        self._with_exponent = [one for one, digits in self._digits.items() if _EXPONENT.search(digits)]
        self._longest = max(map(len, self._digits.values()), default=0)

    def after(self, number: str) -> list[int]:
        """The tokens that make a number too large, of those that may continue it.

        Args:
            number: the beginning of one.
        """
        begun = _NUMBER.fullmatch(number)
        assert begun is not None  # noqa: S101
        near = begun["exponent"] or len(begun["integer"]) + self._longest > _DIGITS
        candidates = self._digits if near else self._with_exponent
        return [one for one in candidates if _overflows(_NUMBER.match(number + self._digits[one]))]


def _overflows(number: re.Match[str] | None) -> bool:
    assert number is not None  # noqa: S101
    written = number[0]
    return not is_finite(written if written[-1].isdigit() else f"{written}0")
