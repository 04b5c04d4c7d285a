"""The model as transformers reads it from its checkpoint, checked, packed and compiled."""

import logging
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from inference.engine.checkpoint import checkpoint_dtype
from inference.engine.compute.compiled.checked import compiled_and_checked
from inference.engine.compute.model_limits import context_length
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.compute.path import ComputePath, choose_path
from inference.engine.compute.prepare import WrongLogits, complete
from inference.engine.config import EngineConfig
from inference.engine.forward_pass import ForwardPass
from inference.engine.kv_cache import kv_cache_dtype
from inference.engine.model_weights import ReadyWeights, from_checkpoint, from_packed, readable
from inference.engine.ready_model import ModelFacts, ReadyModel
from inference.engine.tokenizer_class import class_of
from inference.engine.warm_start import compiled_model, keep
from inference.engine.weights_check import leave_report_to_check_weights

logger = logging.getLogger(__name__)


def cold_start(
    folder: Path,
    *,
    name: str,
    config: EngineConfig,
    threads: int,
    store: PackedWeights | None,
    key: str,
) -> ReadyModel:
    """The model of `folder`; it is packed and compiled for the next start, if `store` can keep that.

    Args:
        key: of all that decides the packed weights.

    Raises:
        Interrupted: nobody needs it any more.
        ModelUnavailable: the files cannot be read, the engine cannot run this kind of model, or it cannot on
            the device that `config` asks for.
    """
    torch.set_num_threads(threads)
    path = choose_path(device=config.device, dtype=config.dtype)
    transformers_logging.disable_progress_bar()
    leave_report_to_check_weights()
    with readable(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        dtype = _weight_dtype(folder, config, path)

    def ready(weights: ReadyWeights, stored_for: PackedWeights | None) -> ReadyModel:
        return _ready(
            weights, tokenizer, folder, name=name, config=config, path=path, store=stored_for, key=key,
            stored=_name(dtype) if config.dtype in ("auto", "float32") else config.dtype,
        )  # fmt: skip

    if store is not None and path.layers.native:
        weights = from_packed(store, key, folder, dtype=dtype, path=path)
        try:
            if weights is not None:
                return ready(weights, store)
        except WrongLogits as error:
            store.discard(key)
            weights = None  # its memory is needed for those of the checkpoint
            logger.warning("The packed weights are not used and will be packed again: %s", error)
    return ready(from_checkpoint(folder, dtype=dtype, path=path), None)


def _ready(
    weights: ReadyWeights,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    name: str,
    config: EngineConfig,
    path: ComputePath,
    stored: str,
    store: PackedWeights | None,
    key: str,
) -> ReadyModel:
    """The model compiled, or as transformers computes it where it cannot be."""
    dtype = kv_cache_dtype(config.kv_cache_dtype, path.weight_format, native=path.kernels is not None)

    def facts(*, context_length: int, reproducible: bool) -> ModelFacts:
        return ModelFacts(
            vocabulary_size=weights.hooked.vocabulary_size,
            context_length=context_length,
            reproducible=reproducible,
            eos_ids=sorted(weights.eos_ids),
            weight_format=path.weight_format.name,
            compute_path=path.description,
            stored=stored,
            weight_bytes=weights.size,
            cache_dtype=str(dtype),
            made_from=weights.made_from,
        )

    found = compiled_and_checked(weights.hooked, path, cache_dtype=dtype)
    model: ForwardPass
    if found is not None and path.kernels is not None:
        compiled, reproducible = found
        known = facts(context_length=context_length(weights.hooked.model.config), reproducible=reproducible)
        if store is not None and weights.memory is not None:
            kind = class_of(tokenizer, folder)
            if kind is None:
                logger.info("The compiled model is not kept: its tokenizer's class alone does not load it.")
            else:
                keep(
                    compiled, known, config=config, tokenizer=kind, store=store, key=key,
                    weights=weights.memory, kernels=path.kernels,
                )  # fmt: skip
        model = compiled_model(compiled, known, name=name, config=config, kernels=path.kernels)
    else:
        hooked = complete(weights.hooked, name=name, config=config, path=path)
        known = facts(context_length=hooked.context_length, reproducible=hooked.reproducible)
        model = hooked
    return ReadyModel(model=model, tokenizer=tokenizer, kernels=path.kernels, facts=known)


def _weight_dtype(folder: Path, config: EngineConfig, path: ComputePath) -> torch.dtype:
    """The type in which to read the weights: the checkpoint's own if it is to stay and can."""
    dtype = checkpoint_dtype(folder)
    if path.layers.takes_narrow or dtype is torch.float32:
        return dtype
    if config.dtype == "auto":
        logger.info(
            "The checkpoint's %s weights take twice the memory, in float32: only the native kernels compute "
            "with them as they are.",
            _name(dtype),
        )
    return torch.float32


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
