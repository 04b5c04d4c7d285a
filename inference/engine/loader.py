"""From a folder of model files to a running, warmed-up engine."""

import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from inference.engine.blocks import BLOCK
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.engine import Engine
from inference.engine.errors import ModelUnavailable
from inference.engine.fingerprint import fingerprint, sources_digest
from inference.engine.grammar.masks import read_masks
from inference.engine.memory import return_freed_memory
from inference.engine.native import kernels as native
from inference.engine.native.generation import generation
from inference.engine.ready_model import ReadyModel
from inference.engine.request import GenerationRequest, SamplingParams
from inference.engine.sampler import draw
from inference.engine.tokenizer import HuggingFaceTokenizer
from inference.engine.warm_start import may_start_warm, warm_start

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
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e6
    logger.info("Loading %s (%.0f MB) ...", name, size)
    ready = ready_model(folder, name=name, config=config, threads=threads, store=store)
    facts, kernels = ready.facts, ready.kernels
    engine = Engine(
        ready.model,
        HuggingFaceTokenizer(ready.tokenizer, rows=facts.vocabulary_size),
        # Where a row's logits depend on the rows beside it, other tokens in a step could change the text.
        config if facts.reproducible else replace(config, speculation="off"),
        forces=facts.reproducible,
        eos_ids=facts.eos_ids,
        draw=kernels.draw if kernels else draw,
        read_masks=kernels.read_masks if kernels else read_masks,
        # One that promises the same text, which such a model does not give.
        fingerprint=fingerprint(
            folder, [facts.compute_path, *_arithmetic(threads), facts.cache_dtype, facts.made_from]
        )
        if facts.reproducible
        else None,
        weight_format=facts.weight_format,
        compute_path=facts.compute_path,
    )
    engine.start()
    logger.info("Warming up ...")
    _warm_up(engine, vocabulary_size=facts.vocabulary_size)
    return_freed_memory()
    logger.info(
        "%s is ready after %.1f s, %s. CPU threads: %d. Context: %d tokens. Weights: %.0f MB in %s. "
        "KV cache: %d tokens in %s. Texts independent of the load: %s.",
        name,
        time.monotonic() - began,
        facts.compute_path,
        threads,
        engine.context_length,
        facts.weight_bytes / 1e6,
        facts.stored,
        BLOCK * ready.model.blocks.count,
        facts.cache_dtype,
        "yes" if facts.reproducible else "no",
    )
    return engine


def ready_model(
    folder: Path, *, name: str, config: EngineConfig, threads: int, store: PackedWeights | None
) -> ReadyModel:
    """The model of `folder` without an engine, as an earlier start has left it if that is possible.

    Raises:
        Interrupted, ModelUnavailable: as `load_engine` does.
    """
    logger.info("Preparing the weights ...")
    try:
        return _warm_or_cold(folder, name=name, config=config, threads=threads, store=store)
    except ImportError as error:
        raise ModelUnavailable(
            f"This start needs PyTorch and transformers, which cannot be imported ({error}): install "
            "requirements/cpu.txt and requirements/lock/base.txt."
        ) from error


def _warm_or_cold(
    folder: Path, *, name: str, config: EngineConfig, threads: int, store: PackedWeights | None
) -> ReadyModel:
    # A copy of a checkpoint may differ where the fingerprint does not look, but hardly in its times too.
    arithmetic = _arithmetic(threads)
    try:
        times = [str(file.stat().st_mtime_ns) for file in sorted(folder.iterdir()) if file.is_file()]
        key = fingerprint(folder, [*arithmetic, config.dtype, *times])
    except Exception as error:  # a damaged file can have any content
        raise ModelUnavailable(f"The model in {folder} cannot be read: {error}") from error
    if store is not None and may_start_warm(config):
        ready = warm_start(folder, name=name, config=config, store=store, key=key)
        if ready is not None:
            return ready
    # Imported here: PyTorch takes seconds, and memory that a warm start does without.
    try:
        from inference.engine.cold_start import cold_start
    except OSError as error:  # one of its shared libraries cannot be loaded
        raise ImportError(error) from error

    return cold_start(folder, name=name, config=config, threads=threads, store=store, key=key)


def _arithmetic(threads: int) -> list[str]:
    """What decides the bits of a result beside the model's files, the compute path and the KV cache.

    The type that weights are stored in is none of it: narrow weights of a checkpoint give the same bits as
    the same weights in float32, so both have one fingerprint.
    """
    return [
        generation(),
        # The native kernels compute the same on any number of threads; PyTorch's operators need not.
        "" if native.load() else str(threads),
        *(version(package) for package in ("torch", "transformers", "numpy")),
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
