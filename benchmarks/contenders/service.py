"""This project's own engine, as the service runs it, without HTTP."""

import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig

from benchmarks.workload import NotHere, Timing, Workload
from inference.engine.config import EngineConfig
from inference.engine.engine import Engine
from inference.engine.loader import load_engine
from inference.engine.request import GenerationRequest, SamplingParams

_POLL_S = 0.002
_ALL_AT_ONCE = 1 << 20


class Service:
    def __init__(self, engine: Engine, vocabulary: int) -> None:
        self.versions = {"transformers": transformers.__version__, "torch": torch.__version__}
        self.engine = engine
        self.vocabulary = vocabulary

    def run(self, workload: Workload) -> Timing:
        """Timed from outside the engine's thread: it is the service's thread and must do nothing else."""
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
        # Every step from here gives each request one token, until the first of them has all of its own.
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
    """The service's default settings but for these.

    Raises:
        NotHere: the engine does not know the precision.
    """
    settings: dict[str, Any] = {"threads": threads, **limits}
    if precision != "float32":
        if "quantization" not in {field.name for field in fields(EngineConfig)}:
            raise NotHere(f"The engine has no {precision} yet.")
        settings["quantization"] = precision
    return EngineConfig(**settings)


def load_with(folder: Path, engine_config: EngineConfig) -> Service:
    engine = load_engine(folder, name=folder.name, config=engine_config)
    return Service(engine, AutoConfig.from_pretrained(folder).get_text_config().vocab_size)


def load(folder: Path, *, precision: str, threads: int) -> Service:
    # Prompts in one step, as the peers take them: then all requests run side by side from the first token on.
    together = {"prefill_tokens": _ALL_AT_ONCE, "prefill_tokens_shared": _ALL_AT_ONCE}
    return load_with(folder, config(precision=precision, threads=threads, **together))
