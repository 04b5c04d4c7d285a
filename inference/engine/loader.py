"""From a folder of model files to a running, warmed-up engine."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from inference.engine.blocks import BLOCK
from inference.engine.checkpoint import checkpoint_dtype
from inference.engine.compute.device_memory import return_freed_gpu_memory
from inference.engine.compute.model import LanguageModel
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.compute.path import ComputePath, choose_path
from inference.engine.compute.prepare import WrongLogits, complete
from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.engine import Engine
from inference.engine.fingerprint import fingerprint, sources_digest
from inference.engine.grammar.masks import read_masks
from inference.engine.memory import return_freed_memory
from inference.engine.model_weights import ReadyWeights, from_checkpoint, from_packed, readable
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.sampler import draw
from inference.engine.tokenizer import HuggingFaceTokenizer
from inference.engine.weights_check import leave_report_to_check_weights

logger = logging.getLogger(__name__)

_WARM_UP_TOKENS = 40


def load_engine(
    folder: Path,
    *,
    name: str,
    config: EngineConfig,
    packed_weights: Path | None = None,
    ending: threading.Event | None = None,
) -> Engine:
    """Load the model of `folder`, start its engine and let it generate once; the log reports the progress.

    Args:
        packed_weights: the folder that keeps the weights as the engine computes with them, for the next start
            and for other processes; None keeps none.
        ending: set once nobody needs the engine any more.

    Raises:
        Interrupted: nobody needs it any more.
        ModelUnavailable: the files cannot be read, the engine cannot run this kind of model, or it cannot on
            the device that `config` asks for.
    """
    # In a thread that ends, because a thread that has computed keeps its OpenMP threads. If these and the
    # engine's outnumber the CPUs, OpenMP lets all of them sleep between operators (steps took 21 ms, not 12).
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="load") as thread:
        store = None if packed_weights is None else PackedWeights(packed_weights, ending=ending)
        loading = thread.submit(_load_engine, folder, name=name, config=config, store=store)
        return loading.result()


def _load_engine(folder: Path, *, name: str, config: EngineConfig, store: PackedWeights | None) -> Engine:
    began = time.monotonic()
    threads = config.threads or usable_cpus()
    torch.set_num_threads(threads)
    path = choose_path(device=config.device, dtype=config.dtype)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    logger.info("Loading %s (%.0f MB) ...", name, size)
    transformers_logging.disable_progress_bar()
    leave_report_to_check_weights()
    with readable(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        dtype = _weight_dtype(folder, config, path)
    stored = _name(dtype) if config.dtype in ("auto", "float32") else config.dtype
    arithmetic = _arithmetic(path)
    weights, language_model = _prepared(
        folder, name=name, config=config, dtype=dtype, path=path, arithmetic=arithmetic, store=store
    )
    engine = Engine(
        language_model,
        HuggingFaceTokenizer(tokenizer, rows=language_model.vocabulary_size),
        # Where a row's logits depend on the rows beside it, other tokens in a step could change the text.
        config if language_model.reproducible else replace(config, speculation="off"),
        forces=language_model.reproducible,
        eos_ids=weights.eos_ids,
        draw=path.kernels.draw if path.kernels else draw,
        read_masks=path.kernels.read_masks if path.kernels else read_masks,
        # One that promises the same text, which such a model does not give.
        fingerprint=fingerprint(folder, [*arithmetic, language_model.cache.dtype.name, weights.made_from])
        if language_model.reproducible
        else None,
        weight_format=path.weight_format.name,
        compute_path=path.description,
    )
    engine.start()
    logger.info("Warming up ...")
    _warm_up(engine, vocabulary_size=language_model.vocabulary_size)
    return_freed_memory()
    return_freed_gpu_memory()
    logger.info(
        "%s is ready after %.1f s, %s. CPU threads: %d. Context: %d tokens. Weights: %.0f MB in %s. "
        "KV cache: %d tokens in %s. Texts independent of the load: %s.",
        name,
        time.monotonic() - began,
        path.description,
        threads,
        engine.context_length,
        weights.size / 1e6,
        stored,
        BLOCK * language_model.blocks.count,
        language_model.cache.dtype.name,
        "yes" if language_model.reproducible else "no",
    )
    return engine


def _prepared(
    folder: Path,
    *,
    name: str,
    config: EngineConfig,
    dtype: torch.dtype,
    path: ComputePath,
    arithmetic: list[str],
    store: PackedWeights | None,
) -> tuple[ReadyWeights, LanguageModel]:
    """The model and its weights, from the store if they are there and give the right logits."""
    logger.info("Preparing the weights ...")
    if store is not None and path.layers.native:
        # A copy of a checkpoint may differ where the fingerprint does not look, but hardly in its times too.
        times = [str(file.stat().st_mtime_ns) for file in sorted(folder.iterdir()) if file.is_file()]
        key = fingerprint(folder, [*arithmetic, config.dtype, _name(dtype), *times])
        weights = from_packed(store, key, folder, dtype=dtype, path=path)
        try:
            if weights is not None:
                return weights, complete(
                    weights.hooked, name=name, config=config, path=path, kept=weights.program
                )
        except WrongLogits as error:
            store.discard(key)
            weights = None  # its memory is needed for those of the checkpoint
            logger.warning("The packed weights are not used and will be packed again: %s", error)
    weights = from_checkpoint(folder, dtype=dtype, path=path)
    return weights, complete(weights.hooked, name=name, config=config, path=path)


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


def _arithmetic(path: ComputePath) -> list[str]:
    """What decides the bits of a result beside the model's files and the type of the KV cache.

    The type that weights are stored in is none of it: narrow weights of a checkpoint give the same bits as
    the same weights in float32, so both have one fingerprint.
    """
    return [
        path.description,
        # The native kernels compute the same on any number of threads; PyTorch's operators need not.
        "" if path.layers.native else str(torch.get_num_threads()),
        torch.backends.cpu.get_cpu_capability(),
        *(module.__version__ for module in (torch, transformers, np)),
        sources_digest(Path(__file__).parent),
    ]


def _warm_up(engine: Engine, *, vocabulary_size: int) -> None:
    """Prefill and decode once, so that no client waits for what the first call sets up."""
    length = max(1, min(_WARM_UP_TOKENS, engine.context_length // 2))
    request = GenerationRequest(
        prompt=tuple(i % vocabulary_size for i in range(1, length + 1)),
        max_new_tokens=max(1, min(3, engine.context_length - length)),
        sampling=SamplingParams(),
    )
    engine.submit(engine.prepare(request)).result()
