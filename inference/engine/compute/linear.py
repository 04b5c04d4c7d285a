"""The linear hook: a model's linear layers are replaced by those of a weight format."""

from torch import nn
from transformers.pytorch_utils import Conv1D

from inference.engine.compute.formats.weight_format import BuildLinear
from inference.engine.memory import return_freed_memory


def replace_linears(model: nn.Module, build: BuildLinear) -> int:
    """Replace every linear layer of `model` (`nn.Linear`, `Conv1D`) by what `build` makes of it, in place.

    Each weight is freed as soon as its layer is replaced, unless it is tied to the embeddings.

    Returns:
        The number of layers replaced.
    """
    found = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.Linear | Conv1D)
    ]
    for parent, name in found:
        child: nn.Linear | Conv1D = getattr(parent, name)
        weight = child.weight.detach()
        setattr(parent, name, build(weight.t() if isinstance(child, Conv1D) else weight, child.bias))
        return_freed_memory()  # the C library would keep what packing took, layer after layer
    return len(found)
