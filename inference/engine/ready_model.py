"""A model that is ready to compute, however it was loaded, and what an engine needs to know of it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference.engine.forward_pass import ForwardPass
from inference.engine.native.kernels import Kernels

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What does not change from start to start.

    Attributes:
        vocabulary_size: token ids that the model takes and has logits for, from 0.
        context_length: tokens that a sequence may have.
        reproducible: a row's logits have the same bits alone and in any batch.
        eos_ids: tokens that end a text.
        weight_format: the name of the format that linear layers keep their weights in.
        compute_path: what computes the model, for the log.
        stored: the type that the weights are stored in.
        weight_bytes: what they take.
        cache_dtype: the type of keys and values.
        made_from: a digest of what the weights were made from beside the checkpoint.
    """

    vocabulary_size: int
    context_length: int
    reproducible: bool
    eos_ids: list[int]
    weight_format: str
    compute_path: str
    stored: str
    weight_bytes: int
    cache_dtype: str
    made_from: str


@dataclass(frozen=True, kw_only=True)
class ReadyModel:
    """A model, its tokenizer, and the kernels that compute it, if any do."""

    model: ForwardPass
    tokenizer: "PreTrainedTokenizerBase"
    kernels: Kernels | None
    facts: ModelFacts
