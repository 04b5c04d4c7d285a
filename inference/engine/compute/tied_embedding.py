"""An input embedding that is tied to the LM head: its rows are read from the head's packed weights.

Both have the same numbers, so an embedding of its own would only take memory: in float32 four times as much
as the head in 8 bits.
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from transformers import PreTrainedModel

from inference.engine.compute.formats.weight_format import BuildLinear
from inference.engine.compute.input_squares import InputSquares
from inference.engine.compute.linear import replace_linears


@runtime_checkable
class HasRows(Protocol):
    """A linear layer whose weights can be read one output channel at a time."""

    def weight_rows(self, channels: torch.Tensor) -> torch.Tensor:
        """The weights of these output channels, `[*]`, in float32: `[*, in]`."""
        ...


class HeadEmbedding(nn.Module):
    """An embedding, `[*] -> [*, width]`, that returns the weights of the LM head; `head` has `HasRows`."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        head: Any = self.head
        rows: torch.Tensor = head.weight_rows(token_ids)
        return rows


def replace_weights(model: PreTrainedModel, build: BuildLinear, input_squares: InputSquares) -> int:
    """Replace every linear layer by what `build` makes of it, and an embedding tied to one with `HasRows`.

    Other embeddings stay as they are, and so do those that do more than look rows up.

    Returns:
        The bytes of the embedding that was replaced, or 0.
    """
    embedding: Any = model.get_input_embeddings()
    head: Any = model.get_output_embeddings()
    tied = (
        type(embedding) is nn.Embedding
        and embedding.max_norm is None
        and type(head) is nn.Linear
        and embedding.weight.data_ptr() == head.weight.data_ptr()
        and embedding.weight.shape == head.weight.shape
    )
    hidden_size = getattr(model.config.get_text_config(), "hidden_size", 0)
    replace_linears(model, build, hidden_size=hidden_size, input_squares=input_squares, head=head)
    packed: Any = model.get_output_embeddings()
    has_rows = isinstance(packed, HasRows)
    if not tied or not has_rows:
        return 0
    model.set_input_embeddings(HeadEmbedding(packed))
    return int(embedding.weight.nbytes)
