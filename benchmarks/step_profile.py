"""Where a step's time goes: `python -m benchmarks.step_profile --requests 16 --context 200`."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import AutoModelForCausalLM

from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.results import progress
from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.formats import FORMATS
from inference.engine.compute.layer_program.module import layer_program_off
from inference.engine.compute.model import LanguageModel
from inference.engine.compute.path import cpu_path
from inference.engine.compute.prepare import prepare
from inference.engine.config import EngineConfig, WeightDtype, usable_cpus
from inference.engine.native.instructions import OPERATIONS, Instruction, Step
from inference.engine.native.kernels import Kernels
from inference.engine.segment import Segment

_KERNELS = ("linear", "bfloat16_linear", "int8_linear", "int4_linear", "attention", "activation")
"""Those that are called from Python; of the program of the layers, each instruction is named."""
_STEPS = 5
_LINES = 12


def step_profile(
    folder: Path,
    *,
    requests: int,
    context: int,
    threads: int,
    dtype: WeightDtype,
    one_by_one: bool = False,
) -> str:
    """One decode step of `requests` texts of `context` tokens, by operator: a table for people."""
    with layer_program_off() if one_by_one else nullcontext():
        model = loaded(folder, tokens=blocks_of(context + 1) * BLOCK * requests, threads=threads, dtype=dtype)
    segments = texts_of(model, requests=requests, context=context)
    progress("Measuring ...")
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        model.forward(segments)
        seconds.append(time.perf_counter() - began)
    with named_kernels(), profile(activities=[ProfilerActivity.CPU]) as measured:
        for _ in range(_STEPS):
            model.forward(segments)
    table = measured.key_averages().table(sort_by="self_cpu_time_total", row_limit=_LINES)
    step = f"{sorted(seconds)[_STEPS // 2] * 1000:.1f} ms a step, the median of {_STEPS}; {_STEPS} of them:"
    return f"{step}\n{table}"


def loaded(folder: Path, *, tokens: int, threads: int, dtype: WeightDtype) -> LanguageModel:
    """The model of `folder`, with a KV cache for this many tokens."""
    torch.set_num_threads(threads)
    progress(f"Loading {dtype} ...")
    stock = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    config = EngineConfig(kv_cache_tokens=tokens, dtype=dtype)
    model = prepare(stock, name=folder.name, config=config, path=cpu_path(dtype))
    model.use_threads(threads)
    return model


def texts_of(model: LanguageModel, *, requests: int, context: int) -> list[Segment]:
    """A decode step of this many texts, each after `context` tokens, which are in the KV cache."""
    segments = []
    for _ in range(requests):
        blocks = model.blocks.take(blocks_of(context + 1))
        assert blocks is not None  # noqa: S101
        model.forward([Segment(list(range(context)), 0, blocks)])
        segments.append(Segment([0], context, blocks))
    return segments


@contextmanager
def named_kernels() -> Iterator[None]:
    """Have the profiler see the native kernels, which are no operators of PyTorch's."""
    with ExitStack() as stack:
        for name in _KERNELS:
            stack.enter_context(patch.object(Kernels, name, _named(name, getattr(Kernels, name))))
        stack.enter_context(patch.object(Kernels, "run", _one_by_one(Kernels.run)))
        yield


def _named(name: str, kernel: Callable[..., None]) -> Callable[..., None]:
    def named(*args: object, **kwargs: object) -> None:
        with record_function(f"native::{name}"):
            kernel(*args, **kwargs)

    return named


def _one_by_one(run: Callable[..., None]) -> Callable[..., None]:
    def named(kernels: Kernels, instructions: Any, step: Step) -> None:
        for instruction, *followers in _together(instructions):
            names = [OPERATIONS[one.operation] for one in (instruction, *followers)]
            with record_function(f"native::{' + '.join(names)}"):
                run(kernels, (Instruction * len(names))(instruction, *followers), step)

    return named


def _together(instructions: Any) -> list[list[Instruction]]:
    """The instructions, those that follow a linear layer together with it."""
    groups: list[list[Instruction]] = []
    for instruction in instructions:
        if instruction.follows:
            groups[-1].append(instruction)
        else:
            groups.append([instruction])
    return groups


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--context", type=int, default=200)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--dtype", choices=FORMATS, default="float32")
    parser.add_argument("--one-by-one", action="store_true", help="layers called from Python, not recorded")
    parser.add_argument("--model", type=Path)
    options = parser.parse_args(arguments)
    print(
        step_profile(
            options.model or ensure_gpt2_medium(),
            requests=options.requests,
            context=options.context,
            threads=options.threads,
            dtype=options.dtype,
            one_by_one=options.one_by_one,
        )
    )


if __name__ == "__main__":
    main()
