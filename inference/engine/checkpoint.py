"""The model of a folder, read with its weights in float32 or in the checkpoint's own type."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from inference.engine.compute.narrow_weights import narrow_weights, widen_the_rest
from inference.engine.weights_check import check_weights

_NARROW = {"BF16": torch.bfloat16, "F16": torch.float16}
"""The types that safetensors files name so and a model's weights can stay in."""


def read_model(folder: Path, *, dtype: torch.dtype) -> PreTrainedModel:
    """Read the model of `folder` and check its weights.

    Args:
        dtype: of the weights of linear layers and of the input embedding: float32, or `checkpoint_dtype`.
            Everything else is in float32.

    Raises:
        ModelUnavailable: the weights are not those of the model, or not all of them are numbers.
        Exception: whatever transformers raises for files that it cannot read.
    """
    with narrow_weights(dtype):
        read: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            trust_remote_code=False,
            dtype=torch.float32,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # check_weights reports them by name
        )
    model: PreTrainedModel
    model, loading_info = read
    check_weights(model, loading_info, folder)
    widen_the_rest(model)
    return model


def checkpoint_dtype(folder: Path) -> torch.dtype:
    """The narrow type that all matrices of the checkpoint have, or else float32, which holds any of them.

    Vectors do not count: norms are often in float32 beside narrow matrices.
    """
    kinds = {kind for kind, shape in _tensors(folder) if len(shape) > 1}
    return _NARROW.get(kinds.pop(), torch.float32) if len(kinds) == 1 else torch.float32


def bytes_when_read(folder: Path, dtype: torch.dtype) -> int:
    """The size of the tensors of `folder` as `read_model` reads them: those of two dimensions in `dtype`."""
    return sum(
        math.prod(shape) * (dtype if len(shape) > 1 else torch.float32).itemsize
        for _, shape in _tensors(folder)
    )


def _tensors(folder: Path) -> Iterator[tuple[str, list[int]]]:
    """The type of each tensor, as the header of its safetensors file names it, and its shape."""
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:
            header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
        for name, tensor in header.items():
            if name != "__metadata__":
                yield tensor["dtype"], tensor["shape"]
