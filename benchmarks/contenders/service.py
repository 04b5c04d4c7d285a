"""This project's engine as the service runs it, without HTTP.

The first load packs the weights beside the model; later ones are warm starts, which import no PyTorch, and
nothing here does: it would take more memory than the engine.
"""

import json
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from benchmarks.served_model import packed_weights_of
from benchmarks.workload import CannotRun, NotHere, Timing, Workload, check_requests
from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.config import EngineConfig, WeightDtype
from inference.engine.engine import Engine
from inference.engine.loader import load_engine
from inference.engine.request import GenerationRequest, SamplingParams

_PACKAGES = ("transformers", "torch", "numpy")
"""The same on every start: of these, a warm one imports NumPy alone, but PyTorch has packed the weights."""
_POLL_S = 0.002
_ALL_AT_ONCE = 1 << 20
_MAX_RUNNING = 64
_CACHES = {"": "auto", "kv8": "int8"}
"""The KV cache's data type, by what follows the weights' type in the name of a precision."""


class Service:
    """The engine of one process.

    Args:
        max_running: the most requests that it runs side by side.
        vocabulary: the number of token ids.
    """

    def __init__(self, engine: Engine, *, max_running: int, vocabulary: int) -> None:
        self.versions = {package: version(package) for package in _PACKAGES}
        self.path = engine.compute_path
        self.engine = engine
        self._max_running = max_running
        self.vocabulary = vocabulary

    def run(self, workload: Workload) -> Timing:
        """Generate, timed from outside the engine's thread, which does nothing but the service's own work.

        Raises:
            CannotRun: the engine runs fewer requests side by side, or has too small a KV cache for them.
        """
        check_requests(workload, self._max_running)
        needed = workload.requests * BLOCK * blocks_of(workload.prompt_tokens + workload.new_tokens)
        if needed > (there := self.engine.load.kv_tokens):
            raise CannotRun(f"its KV cache has {there} tokens, and these requests need {needed}")
        sampling = SamplingParams(do_sample=workload.sampled)
        began = time.perf_counter()
        generations = [
            self.engine.submit(
                self.engine.prepare(
                    GenerationRequest(
                        prompt=tuple(prompt), max_new_tokens=workload.new_tokens, sampling=sampling
                    )
                )
            )
            for prompt in workload.prompts(self.vocabulary)
        ]
        while any(generation.completion_tokens == 0 and not generation.done for generation in generations):
            time.sleep(_POLL_S)
        all_run = time.perf_counter()
        # From here on, each step gives every request one token, until the first request has all its tokens.
        first = generations[0]
        tokens = first.completion_tokens
        first.result()
        one_ended = time.perf_counter()
        for generation in generations:
            generation.result()
        return Timing(
            prefill_s=all_run - began,
            decoded_tokens=workload.requests * (workload.new_tokens - tokens),
            decode_s=one_ended - all_run,
        )


def config(*, precision: str, threads: int, **limits: int) -> EngineConfig:
    """The service's default settings, except for the given ones.

    The prefix cache is off, because a benchmark's rounds have the same prompts. So are guesses of what
    follows, because they would measure how much a text repeats, and not how long a step takes.

    Raises:
        NotHere: the engine does not have the precision.
    """
    dtype, _, cache = precision.partition("-")
    if dtype not in get_args(WeightDtype) or cache not in _CACHES:
        raise NotHere(f"the engine has no {precision}.")
    settings: dict[str, Any] = {
        "dtype": dtype, "kv_cache_dtype": _CACHES[cache], "threads": threads, **limits
    }  # fmt: skip
    return EngineConfig(speculation="off", prefix_cache="off", **settings)


def load_with(folder: Path, engine_config: EngineConfig) -> Service:
    """The engine with this configuration, loaded and warm."""
    kept = packed_weights_of(folder, engine_config)
    return Service(
        load_engine(folder, name=folder.name, config=engine_config, packed_weights=kept),
        max_running=engine_config.max_running,
        vocabulary=_vocabulary(folder),
    )


def _vocabulary(folder: Path) -> int:
    """The number of token ids, which a model of more than text has in a part of its configuration."""
    described: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    vocabulary: int = described.get("text_config", described)["vocab_size"]
    return vocabulary


def load(folder: Path, *, precision: str, threads: int) -> Service:
    # All prompts in one step, as in the peers, so that all requests run side by side from the first token.
    limits = {
        "max_running": _MAX_RUNNING, "prefill_tokens": _ALL_AT_ONCE, "prefill_tokens_shared": _ALL_AT_ONCE
    }  # fmt: skip
    return load_with(folder, config(precision=precision, threads=threads, **limits))
