"""What a model can take: token ids, and tokens in a sequence."""

from typing import Any

from transformers import PreTrainedModel

_ROPE_BY_LENGTH = frozenset({"longrope", "dynamic"})
"""Rotary embeddings that change for every sequence of a step once one of them is longer than in training. Up
to that length, no sequence depends on another."""


def vocabulary_size(model: PreTrainedModel) -> int:
    """How many token ids the model has an embedding and a logit for."""
    layers: list[Any] = [model.get_input_embeddings(), model.get_output_embeddings()]
    return min(int(layer.weight.shape[0]) for layer in layers if layer is not None)


def context_length(config: Any) -> int:
    """Tokens that a sequence may have: every layer sees them all, and no other sequence changes."""
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None) or 2048
    rope = getattr(text, "rope_parameters", None) or {}
    # Some kinds of models have one for each kind of their layers.
    for one in [rope, *(value for value in rope.values() if isinstance(value, dict))]:
        if one.get("rope_type") in _ROPE_BY_LENGTH:
            length = min(length, one.get("original_max_position_embeddings") or length)
    window = getattr(text, "sliding_window", None) if getattr(text, "use_sliding_window", True) else None
    return min(length, window or length, getattr(text, "attention_chunk_size", None) or length)
