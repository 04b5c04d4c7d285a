"""The model as an earlier start has compiled it: nothing here needs PyTorch, whose import takes seconds."""

import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.compiled.kept import NotInWeights, restored, writing
from inference.engine.compute.compiled.model import Compiled, CompiledModel, CompiledPass
from inference.engine.compute.compiled.tables import Floats
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.compute.tried_tokens import tried_tokens
from inference.engine.config import EngineConfig
from inference.engine.errors import ModelUnavailable
from inference.engine.kv_cache import KVCache, bytes_of_token
from inference.engine.memory import kv_cache_blocks, return_freed_memory
from inference.engine.native import kernels as native
from inference.engine.native.kernels import Kernels
from inference.engine.ready_model import ModelFacts, ReadyModel
from inference.engine.segment import Segment
from inference.engine.tokenizer_class import tokenizer_of

logger = logging.getLogger(__name__)

_GPUS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Devices of CUDA, ROCm, and of both in Windows' Linux."""
_COMPARED = 2 * BLOCK + 5
"""Tokens whose logits are compared with those of the earlier start."""


def may_start_warm(config: EngineConfig) -> bool:
    """Whether the model is computed by the native kernels, as a compiled one is."""
    if config.device == "cuda" or native.load() is None:
        return False
    return config.device == "cpu" or "+cpu" in version("torch") or not any(Path(p).exists() for p in _GPUS)


def warm_start(
    folder: Path, *, name: str, config: EngineConfig, store: PackedWeights, key: str
) -> ReadyModel | None:
    """The model of `folder`, compiled and packed by an earlier start; None if there is none.

    Its logits are compared with those of that start.

    Args:
        key: of all that decides the packed weights.

    Raises:
        ModelUnavailable: the tokenizer cannot be read, or the machine has too little memory.
    """
    kernels = native.load()
    packed = store.read_compiled(key)
    if kernels is None or packed is None or packed.description["further"]["setting"] != config.kv_cache_dtype:
        return None
    weights = store.find(key)
    if weights is None:
        return None
    compiled, further = restored(packed, weights.memory)
    facts = ModelFacts(**further["facts"])
    if not np.array_equal(_logits(compiled, kernels, facts), further["logits"]):
        store.discard(key)
        logger.warning("The compiled model is not used and will be compiled again: it has other logits.")
        return None
    try:
        tokenizer = tokenizer_of(folder, further["tokenizer"])
    except Exception as error:
        raise ModelUnavailable(f"The tokenizer in {folder} cannot be read: {error}") from error
    return ReadyModel(
        model=compiled_model(compiled, facts, name=name, config=config, kernels=kernels),
        tokenizer=tokenizer,
        kernels=kernels,
        facts=facts,
    )


def keep(
    compiled: Compiled,
    facts: ModelFacts,
    *,
    config: EngineConfig,
    tokenizer: str,
    store: PackedWeights,
    key: str,
    weights: Any,
    kernels: Kernels,
) -> None:
    """Keep a compiled model for the next start, if the packed weights have all that it reads.

    Args:
        tokenizer: the name of its class.
        weights: the memory of the packed weights.
    """
    further = {
        "facts": asdict(facts),
        "setting": config.kv_cache_dtype,
        "tokenizer": tokenizer,
        "logits": _logits(compiled, kernels, facts).copy(),
    }
    try:
        store.write_compiled(key, writing(compiled, weights, further))
    except NotInWeights:
        logger.info("The compiled model is not kept: it reads more than packed weights.")


def compiled_model(
    compiled: Compiled, facts: ModelFacts, *, name: str, config: EngineConfig, kernels: Kernels
) -> CompiledModel:
    """A compiled model with a KV cache of the size that the weights leave of the memory.

    Raises:
        ModelUnavailable: that is too small.
    """
    return_freed_memory()
    dtype = np.dtype(facts.cache_dtype)
    blocks = kv_cache_blocks(
        config,
        token_bytes=bytes_of_token(compiled.layers.attentions, dtype),
        context_length=facts.context_length,
    )
    return CompiledModel(
        compiled,
        name=name,
        context_length=facts.context_length,
        cache=KVCache(blocks=blocks, dtype=dtype),
        kernels=kernels,
    )


def _logits(compiled: Compiled, kernels: Kernels, facts: ModelFacts) -> Floats:
    """Of the last token of a short text, which differ where anything does."""
    count = max(2, min(_COMPARED, facts.context_length))
    token_ids = tried_tokens(count, vocabulary_size=facts.vocabulary_size)
    blocks = list(range(blocks_of(count)))[::-1]
    cache = KVCache(blocks=len(blocks), dtype=np.dtype(facts.cache_dtype))
    compute = CompiledPass(compiled, kernels)
    compute.forward([Segment(token_ids[:-1], 0, blocks)], cache)
    return compute.forward([Segment(token_ids[-1:], count - 1, blocks)], cache)
