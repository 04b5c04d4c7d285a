"""The largest of a row of logits."""

from typing import Any

import numpy as np

_GROUP = 64

Array = np.ndarray[Any, np.dtype[Any]]


def largest(logits: Array, count: int) -> Array:
    """The indices of the `count` largest logits and of all that tie with the smallest of them, ascending.

    Ties are kept, as in TopKLogitsWarper. Only groups of the vocabulary whose maximum is among the `count`
    largest maxima can hold them.
    """
    groups = len(logits) // _GROUP
    if groups <= count:
        return _at_least(logits, count)
    body = logits[: groups * _GROUP].reshape(groups, _GROUP)
    chosen = _at_least(body.max(axis=1), count)
    indices = np.concatenate(
        ((chosen[:, None] * _GROUP + np.arange(_GROUP)).ravel(), np.arange(groups * _GROUP, len(logits)))
    )
    return indices[_at_least(logits[indices], count)]


def ranked(logits: Array, count: int) -> Array:
    """The indices of the `count` largest logits, the largest first; of equal ones the lower index."""
    indices = largest(logits, count) if 0 < count < len(logits) else np.arange(len(logits))
    return indices[(-logits[indices]).argsort(kind="stable")][:count]


def _at_least(scores: Array, count: int) -> Array:
    """The indices of the `count` largest scores and of all that equal the smallest of them."""
    return np.flatnonzero(scores >= np.partition(scores, -count)[-count])
