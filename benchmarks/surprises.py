"""How surprised a model is by the tokens of a text, from its logits, with NumPy alone."""

from typing import Any

import numpy


def surprises_of(logits: Any, text: list[int]) -> list[float]:
    """-ln p of every token but the first.

    Args:
        logits: after each of the tokens, `[tokens, vocabulary]`.
    """
    rows = numpy.asarray(logits, dtype=numpy.float64)[:-1]
    rows -= rows.max(axis=1, keepdims=True)
    chosen = rows[numpy.arange(len(rows)), text[1:]]
    found: list[float] = (numpy.log(numpy.exp(rows).sum(axis=1)) - chosen).tolist()
    return found
