"""JSON of any shape within a request, such as a JSON Schema: what of it the service takes."""

import math
from collections.abc import Mapping
from typing import Any

from llmservice.http.fields import NOT_TEXT

MAX_NESTING = 256
"""Lists and objects within each other. What reads or writes them recursively stays within Python's limit."""

TOO_DEEP = f"Must not have more than {MAX_NESTING} lists and objects within each other."
_NO_TEXT = "Must not contain NUL characters or surrogates."
_NO_NUMBER = "Must not contain numbers that are too large, infinite or not a number."


def flaw_of(value: Any) -> str | None:
    """Why the service does not take this value, as the message of an error; None if it does."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for one in level:
            match one:
                case str() if NOT_TEXT.search(one):
                    return _NO_TEXT
                case float() if not math.isfinite(one):
                    return _NO_NUMBER
                case Mapping() | list() if depth == MAX_NESTING:
                    return TOO_DEEP
                case Mapping():
                    below += [*one, *one.values()]
                case list():
                    below += one
        level, depth = below, depth + 1
    return None
