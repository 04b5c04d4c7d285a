"""The model as the service computes it: from packed weights, compiled where that is possible.

The first load packs the weights beside the model, as the service's first start does in its own folder. Later
ones are warm starts, which import neither PyTorch nor any model's code; nothing here imports them either.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from inference.engine.blocks import blocks_of
from inference.engine.compute.packed.store import PackedWeights
from inference.engine.config import EngineConfig, usable_cpus
from inference.engine.forward_pass import ForwardPass
from inference.engine.loader import ready_model
from inference.engine.segment import Segment


def packed_weights_of(folder: Path, config: EngineConfig) -> Path:
    """The folder of packed weights for this configuration.

    Each precision has its own, because a folder keeps few files, and a compiled model is for one KV cache.
    """
    cache = "" if config.kv_cache_dtype == "auto" else f"-{config.kv_cache_dtype}"
    return folder.parent / "weights" / f"{config.dtype}{cache}"


def served_model(folder: Path, config: EngineConfig, *, one_by_one: bool = False) -> ForwardPass:
    """The model of `folder`, which computes on `config.threads` in this thread.

    Args:
        one_by_one: Python calls each of the layers, as happens where they cannot be recorded.

    Raises:
        ModelUnavailable: the service could not load it either.
    """
    threads = config.threads or usable_cpus()
    # In a thread that ends, because one that has computed by PyTorch keeps threads that disturb the kernels'.
    with ThreadPoolExecutor(max_workers=1) as thread:
        model = thread.submit(_load, folder, config, threads=threads, one_by_one=one_by_one).result()
    model.use_threads(threads)
    return model


def decode_step(model: ForwardPass, *, requests: int, context: int) -> list[Segment]:
    """A decode step of this many texts, each after `context` tokens, which are in the KV cache."""
    segments = []
    for _ in range(requests):
        blocks = model.blocks.take(blocks_of(context + 1))
        assert blocks is not None  # noqa: S101
        model.forward([Segment(list(range(context)), 0, blocks)])
        segments.append(Segment([0], context, blocks))
    return segments


def _load(folder: Path, config: EngineConfig, *, threads: int, one_by_one: bool) -> ForwardPass:
    # Without a store, because the compiled model of an earlier load is not to be found.
    store = None if one_by_one else PackedWeights(packed_weights_of(folder, config))
    with _layer_program_off() if one_by_one else nullcontext():
        return ready_model(folder, name=folder.name, config=config, threads=threads, store=store).model


def _layer_program_off() -> AbstractContextManager[None]:
    # Imported here, because it imports PyTorch.
    from inference.engine.compute.layer_program.module import layer_program_off

    return layer_program_off()
