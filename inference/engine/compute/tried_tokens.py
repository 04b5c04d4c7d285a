"""What a model is tried with."""


def tried_tokens(count: int, *, vocabulary_size: int) -> list[int]:
    """So many token ids, from all over the vocabulary."""
    return [(7919 * i + 11) % vocabulary_size for i in range(count)]
