"""The fewest tokens that a text can have, by its characters alone: a few milliseconds for a megabyte.

A token covers at most as many characters as it is long. So a character that occurs only in tokens of up to
`n` characters accounts for at least `1 / n` of a token, and the sum over a text's characters bounds the
number of its tokens from below. The bound exists for byte-pair encoding of bytes or with byte fallback. With
any other tokenizer an unknown word of any length can be one token.
"""

import json
import math
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))
# No character decomposes into more than four (Unicode Standard Annex 15), so composing shortens no further.
COMPOSED_FROM = 4
KEPT_LENGTH = {"Prepend": 1, "NFD": 1, "NFKD": 1, "NFC": COMPOSED_FROM, "NFKC": COMPOSED_FROM}
KEPT_TEXT = {"ByteLevel", "Metaspace", "Digits", "Punctuation", "Split", "UnicodeScripts"}
# Sums of floats are inexact in the last digits.
ROUNDING = 1e-6

Bound = Callable[[str], int]


def prompt_bound(tokenizer: "PreTrainedTokenizerBase") -> Bound:
    """The function that gives the fewest tokens of a text; it gives 0 for a tokenizer without a bound."""
    if not tokenizer.is_fast:
        return _unknown
    from tokenizers.models import BPE
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    backend = tokenizer.backend_tokenizer
    added = list(tokenizer.added_tokens_decoder.values())
    if not isinstance(backend.model, BPE) or any(token.lstrip or token.rstrip for token in added):
        return _unknown
    normalizers, pre_tokenizers = _parts(backend.normalizer), _parts(backend.pre_tokenizer)
    shrinks = [_shrinks(part) for part in normalizers]
    if None in shrinks or not all(_keeps_text(part) for part in pre_tokenizers):
        return _unknown
    tokens = backend.get_vocab(with_added_tokens=False)
    contents = [token.content for token in added]
    letters: dict[int, str] = bytes_to_unicode()
    kinds = {part["type"] for part in pre_tokenizers}
    required = BYTE_TOKENS
    if "ByteLevel" in kinds:
        if not normalizers and "Metaspace" not in kinds:
            return _by_bytes(tokens, [_written(content, letters) for content in contents], letters)
        required = frozenset(letters.values())
    elif not backend.model.byte_fallback:
        return _unknown
    if not tokens.keys() >= required:
        return _unknown
    if backend.normalizer is not None:
        contents += [backend.normalizer.normalize_str(t.content) for t in added if t.normalized]
    return _by_characters(max(map(len, [*tokens, *contents])) * math.prod(filter(None, shrinks)))


def _unknown(text: str) -> int:
    return 0


def _by_characters(longest: int) -> Bound:
    return lambda text: -(-len(text) // longest)


def _by_bytes(tokens: Collection[str], added: Iterable[str], letters: dict[int, str]) -> Bound:
    """The bound of tokens whose letters stand for bytes: each byte by the longest token that contains it."""
    longest: dict[str, int] = {}
    for token in sorted([*tokens, *added], key=len, reverse=True):
        for letter in set(token) - longest.keys():
            longest[letter] = len(token)
    # A byte that has no token of its own may be left out of the text, and costs nothing.
    shares = np.array([1 / longest[own] if (own := letters[byte]) in tokens else 0.0 for byte in range(256)])

    def least(text: str) -> int:
        counts = np.bincount(np.frombuffer(text.encode(), dtype=np.uint8), minlength=256)
        return math.ceil(float(counts @ shares) - ROUNDING)

    return least


def _written(text: str, letters: dict[int, str]) -> str:
    return "".join(letters[byte] for byte in text.encode())


def _parts(component: Any) -> list[dict[str, Any]]:
    """A normalizer or pre-tokenizer as a list of those that it consists of."""
    if component is None:
        return []
    described: dict[str, Any] = json.loads(component.__getstate__())
    pending, parts = [described], []
    while pending:
        part = pending.pop()
        if part["type"] == "Sequence":
            pending += part.get("normalizers") or part.get("pretokenizers") or []
        else:
            parts.append(part)
    return parts


def _shrinks(normalizer: dict[str, Any]) -> int | None:
    """How many characters it can make one of; None if any number."""
    if normalizer["type"] == "Replace":
        pattern = normalizer["pattern"].get("String")
        return 1 if pattern is not None and len(normalizer["content"]) >= len(pattern) else None
    return KEPT_LENGTH.get(normalizer["type"])


def _keeps_text(pre_tokenizer: dict[str, Any]) -> bool:
    return pre_tokenizer["type"] in KEPT_TEXT and pre_tokenizer.get("behavior") != "Removed"
