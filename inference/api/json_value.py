"""JSON of any shape within a request, such as a JSON Schema: what of it the service takes."""

import math
from typing import Any

from llmservice.http.fields import NOT_TEXT

MAX_NESTING = 256
"""Lists and objects within each other. What reads or writes them recursively stays within Python's limit."""

TOO_DEEP = f"Must not have more than {MAX_NESTING} lists and objects within each other."
_NO_TEXT = "Must not contain NUL characters or surrogates."
_NO_NUMBER = "Must not contain numbers that are too large, infinite or not a number."


def flaw_of(value: Any) -> str | None:
    """Why the service does not take this value, as the message of an error; None if it does."""
    # In a few passes over the whole of it: this thread keeps Python's lock from the engine's.
    level, depth, texts = [value], 0, list[str]()
    while level:
        below: list[Any] = []
        for one in level:
            if isinstance(one, str):
                texts.append(one)
            elif isinstance(one, dict | list):
                if depth == MAX_NESTING:
                    return TOO_DEEP
                if isinstance(one, dict):
                    texts.extend(one)
                    below.extend(one.values())
                else:
                    below.extend(one)
            elif isinstance(one, float) and not math.isfinite(one):
                return _NO_NUMBER
        level, depth = below, depth + 1
    return _NO_TEXT if NOT_TEXT.search("".join(texts)) else None
