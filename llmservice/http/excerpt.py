"""A client's text in an answer or in the log."""


def excerpt(text: str, length: int = 64) -> str:
    """The first characters of a client's text; what cannot be printed becomes U+FFFD.

    The text may be a megabyte long and contain control characters, or surrogates, which UTF-8 cannot encode.
    """
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in text[:length])
    return f"{shown}…" if len(text) > length else shown
