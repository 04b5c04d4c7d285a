"""Python's garbage collector during a start, where it would look at all that is imported again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collector() -> Iterator[None]:
    """Collect nothing within, and never look at what exists at the end.

    While torch and transformers are imported, a fifth of the time went into collections that freed nothing.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def keep_loaded() -> None:
    """Never look again at what exists now: a collection would halt every request for it."""
    gc.collect()
    gc.freeze()
