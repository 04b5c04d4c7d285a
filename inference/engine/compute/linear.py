"""The linear hook: a model's linear layers are replaced by those of a weight format."""

from torch import nn
from transformers.pytorch_utils import Conv1D

from inference.engine.compute.formats.weight_format import BuildLinear, LinearWeights
from inference.engine.compute.input_squares import InputSquares
from inference.engine.compute.linear_modules import is_linear
from inference.engine.memory import return_freed_memory


def replace_linears(
    model: nn.Module,
    build: BuildLinear,
    *,
    hidden_size: int,
    input_squares: InputSquares,
    head: nn.Module | None,
) -> int:
    """Replace every linear layer of `model` (`nn.Linear`, `Conv1D`) by what `build` makes of it, in place.

    Each weight is freed as soon as its layer is replaced, unless it is tied to the embeddings.

    Args:
        hidden_size: the numbers in a hidden state.
        input_squares: of the layers, as far as they were noted.
        head: the LM head.

    Returns:
        The number of layers replaced.
    """
    found = [
        (place, parent, name)
        for place, parent in model.named_modules()
        for name, child in parent.named_children()
        if is_linear(child)
    ]
    for place, parent, name in found:
        child: nn.Linear | Conv1D = getattr(parent, name)
        weight = child.weight.detach()
        linear = LinearWeights(
            weight=weight.t() if isinstance(child, Conv1D) else weight,
            bias=child.bias,
            input_squares=input_squares.get(f"{place}.{name}" if place else name),
            hidden_size=hidden_size,
            is_head=child is head,
        )
        setattr(parent, name, build(linear))
        return_freed_memory()  # the C library would keep what packing took, layer after layer
    return len(found)
