"""Which modules of a model are linear layers."""

from typing import TypeGuard

from torch import nn
from transformers.pytorch_utils import Conv1D


def is_linear(module: object) -> TypeGuard[nn.Linear | Conv1D]:
    """Whether the module only multiplies by its weight and adds its bias.

    A class derived from a linear layer may do more, such as the routers of some mixtures of experts.
    """
    return isinstance(module, nn.Linear | Conv1D) and type(module).forward in (
        nn.Linear.forward,
        Conv1D.forward,
    )
