"""Weights that stay in the checkpoint's bfloat16 or float16 while everything is computed in float32.

Those of linear layers and of the input embedding are kept as they are, because they are nearly all of a
model. Every other tensor is small and widened when it is read. Widening is exact, so a model computes the
same bits as the same checkpoint read in float32.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from transformers import PreTrainedModel

from inference.engine.compute.linear_modules import is_linear


class WidenedEmbedding(nn.Module):
    """An embedding that keeps its weight, `[rows, width]`, in its type and returns float32, `[*, width]`."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(token_ids, self.weight).float()


@contextmanager
def narrow_weights(dtype: torch.dtype) -> Iterator[None]:
    """While entered, models that are built have the weights of linear layers and embeddings in `dtype`.

    transformers reads each weight in the type that the built model has for it, so no copy in float32 exists
    at any time. The configuration's dtype stays float32, because models derive constants from it.
    """

    def narrow(module: nn.Module, name: str, parameter: nn.Parameter | None) -> Any:
        kept = is_linear(module) or type(module) is nn.Embedding
        if parameter is None or not kept or name != "weight" or parameter.dtype is not torch.float32:
            return None
        return nn.Parameter(parameter.detach().to(dtype), requires_grad=False)

    if dtype is torch.float32:
        yield
        return
    hook: Any = register_module_parameter_registration_hook(narrow)
    try:
        yield
    finally:
        hook.remove()


def widen_the_rest(model: PreTrainedModel) -> None:
    """Have everything but the weights of linear layers and of the input embedding in float32, in place."""
    embedding = model.get_input_embeddings()
    if type(embedding) is nn.Embedding and embedding.weight.dtype is not torch.float32:
        model.set_input_embeddings(WidenedEmbedding(embedding.weight))
    for module in model.modules():
        if is_linear(module) or isinstance(module, WidenedEmbedding):
            continue
        for parameter in module.parameters(recurse=False):
            parameter.data = parameter.data.float() if parameter.is_floating_point() else parameter.data


@contextmanager
def widened_linears(model: nn.Module) -> Iterator[None]:
    """While entered, the model's own linear layers compute with narrow weights as with float32 ones.

    A layer has its weight in float32 only while it computes.
    """
    linears = (module for module in model.modules() if is_linear(module))
    narrow = {linear: linear.weight for linear in linears if linear.weight.dtype is not torch.float32}

    def widen(linear: Any, args: object) -> None:
        linear.weight = nn.Parameter(narrow[linear].detach().float(), requires_grad=False)

    def restore(linear: Any, args: object, output: object) -> None:
        linear.weight = narrow[linear]

    hooks: list[Any] = []
    for linear in narrow:
        hooks += linear.register_forward_pre_hook(widen), linear.register_forward_hook(restore)
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for linear, weight in narrow.items():
            linear.weight = weight
