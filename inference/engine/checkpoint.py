"""The model of a folder, read with its weights in float32 or in the checkpoint's own type."""

import json
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
    kinds = {kind for file in folder.glob("*.safetensors") for kind in _matrix_types(file)}
    return _NARROW.get(kinds.pop(), torch.float32) if len(kinds) == 1 else torch.float32


def _matrix_types(file: Path) -> Iterator[str]:
    """The type of each tensor of two dimensions or more in a safetensors file, as its header names it."""
    with file.open("rb") as opened:
        header = json.loads(opened.read(int.from_bytes(opened.read(8), "little")))
    for name, tensor in header.items():
        if name != "__metadata__" and len(tensor["shape"]) > 1:
            yield tensor["dtype"]
