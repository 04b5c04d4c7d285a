"""A model with its weights in their final form: from the checkpoint, or from the file of an earlier start."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from inference.engine.checkpoint import bytes_when_read, read_model
from inference.engine.compute.device_memory import weight_bytes
from inference.engine.compute.input_squares import digest_of
from inference.engine.compute.packed.model_record import ModelWriter, restored_model
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.compute.packed.tensor_file import NotKeepable, TensorWriter
from inference.engine.compute.packed.tensors import tensor_at
from inference.engine.compute.path import ComputePath
from inference.engine.compute.prepare import HookedModel, check_hooks, hook
from inference.engine.compute.tied_embedding import replace_weights
from inference.engine.errors import ModelUnavailable
from inference.engine.memory import return_freed_memory


@dataclass(frozen=True)
class ReadyWeights:
    """A model whose linear layers have the weight format's form.

    Attributes:
        eos_ids: tokens that end a text.
        size: bytes that the weights take.
        made_from: a digest of what they were made from beside the checkpoint.
        memory: that of packed weights; None if they are not in a file.
    """

    hooked: HookedModel
    eos_ids: set[int]
    size: int
    made_from: str
    memory: NDArray[np.uint8] | None = None


def from_checkpoint(folder: Path, *, dtype: torch.dtype, path: ComputePath) -> ReadyWeights:
    """Read, hook and pack the model of `folder`.

    Args:
        dtype: in which to read the weights of linear layers and the input embedding.

    Raises:
        ModelUnavailable: the files cannot be read, or the model cannot be hooked.
    """
    with readable(folder):
        model = read_model(folder, dtype=dtype)
    eos_ids, size = _eos_ids(model), weight_bytes(model, path.weight_format)
    hooked = check_hooks(model, path)
    if path.layers.build:
        size -= replace_weights(model, path.layers.build, hooked.input_squares)
    return ReadyWeights(hooked, eos_ids, size, digest_of(hooked.input_squares))


def from_packed(
    store: PackedWeights, key: str, folder: Path, *, dtype: torch.dtype, path: ComputePath
) -> ReadyWeights | None:
    """The same from the store, which reads and packs the checkpoint at the first start; None if it cannot.

    The model's own code is not computed again: its logits are in the file, and the packed weights are
    compared with them at each start.

    Args:
        key: of all that decides the packed weights.

    Raises:
        ModelUnavailable: as `from_checkpoint` does.
    """
    build = path.layers.build
    if build is None:
        return None

    def pack(writer: TensorWriter) -> dict[str, Any]:
        with readable(folder):
            model = read_model(folder, dtype=dtype)
        eos_ids, size = sorted(_eos_ids(model)), weight_bytes(model, path.weight_format)
        hooked = check_hooks(model, path)
        streaming = ModelWriter(writer)
        size -= replace_weights(model, streaming.streaming(build), hooked.input_squares)
        return {
            "made_from": digest_of(hooked.input_squares),
            "eos_ids": eos_ids,
            "size": size,
            "vocabulary_size": hooked.vocabulary_size,
            "expected": writer.add(hooked.expected),
            "model": streaming.describe(model),
        }

    # What is packed is about as large as what is read, or smaller.
    packed = store.open(key, pack, size=bytes_when_read(folder, dtype))
    return_freed_memory()
    if packed is None:
        return None
    kept = packed.description
    try:
        with readable(folder):
            model = restored_model(
                folder, kept["model"], packed.memory, hook=partial(hook, path=path), kernels=path.kernels
            )
    except NotKeepable:
        store.discard(key)
        return None
    expected = tensor_at(packed.memory, kept["expected"]).clone()
    return ReadyWeights(
        HookedModel(model, expected, kept["vocabulary_size"], {}),
        set(kept["eos_ids"]),
        kept["size"],
        kept["made_from"],
        packed.memory,
    )


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Report what goes wrong within as files that cannot be read (`ModelUnavailable`)."""
    try:
        yield
    except (ModelUnavailable, NotKeepable):
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelUnavailable(f"The model in {folder} cannot be read: {reason}") from error


def _eos_ids(model: PreTrainedModel) -> set[int]:
    """The tokens that end a text, as transformers' `generate` determines them."""
    declared = model.generation_config.eos_token_id if model.generation_config else None
    if declared is None:
        declared = model.config.get_text_config().eos_token_id
    return set(declared) if isinstance(declared, list) else {declared} - {None}
