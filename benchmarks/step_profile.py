"""Where a step's time goes: `python -m benchmarks.step_profile --requests 16 --context 200`."""

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, get_args
from unittest.mock import patch

from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.results import progress
from benchmarks.served_model import decode_step, served_model
from inference.engine.blocks import BLOCK, blocks_of
from inference.engine.compute.compiled.inputs import Embedding, Rotary
from inference.engine.compute.compiled.model import CompiledPass
from inference.engine.compute.layer_program.runner import ProgramRunner
from inference.engine.compute.tiles import Tiles
from inference.engine.config import EngineConfig, WeightDtype, usable_cpus
from inference.engine.native.instructions import OPERATIONS, Instruction, Step
from inference.engine.native.kernels import Kernels

_KERNELS = ("linear", "bfloat16_linear", "int8_linear", "int4_linear", "attention", "activation")
"""Those that are called from Python; of programs, each instruction is named."""
_IN_NUMPY: tuple[tuple[type, str], ...] = (
    (CompiledPass, "forward"),
    (Embedding, "rows"),
    (Rotary, "rows"),
    (Tiles, "__init__"),
    (ProgramRunner, "run"),
)
"""What is around the kernels of a compiled model. Their own CPU time is what NumPy and Python take."""
_STEPS = 5
_LINES = 16


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
    progress(f"Loading {dtype} ...")
    tokens = blocks_of(context + 1) * BLOCK * requests
    config = EngineConfig(device="cpu", kv_cache_tokens=tokens, threads=threads, dtype=dtype)
    model = served_model(folder, config, one_by_one=one_by_one)
    segments = decode_step(model, requests=requests, context=context)
    progress("Measuring ...")
    seconds = []
    for _ in range(_STEPS):
        began = time.perf_counter()
        model.forward(segments)
        seconds.append(time.perf_counter() - began)
    with named_parts(), profile(activities=[ProfilerActivity.CPU]) as measured:
        for _ in range(_STEPS):
            model.forward(segments)
    table = measured.key_averages().table(sort_by="self_cpu_time_total", row_limit=_LINES)
    step = f"{sorted(seconds)[_STEPS // 2] * 1000:.1f} ms a step, the median of {_STEPS}; {_STEPS} of them:"
    return f"{step}\n{table}"


@contextmanager
def named_parts() -> Iterator[None]:
    """Have the profiler see the native kernels and the work in NumPy, which are no operators of PyTorch's."""
    with ExitStack() as stack:
        for name in _KERNELS:
            kernel = _named(f"native::{name}", getattr(Kernels, name))
            stack.enter_context(patch.object(Kernels, name, kernel))
        stack.enter_context(patch.object(Kernels, "run", _one_by_one(Kernels.run)))
        for kind, name in _IN_NUMPY:
            part = _named(f"numpy::{kind.__name__}.{name.strip('_')}", getattr(kind, name))
            stack.enter_context(patch.object(kind, name, part))
        yield


def _named(name: str, part: Callable[..., object]) -> Callable[..., object]:
    def named(*args: object, **kwargs: object) -> object:
        with record_function(name):
            return part(*args, **kwargs)

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
    parser.add_argument("--dtype", choices=get_args(WeightDtype), default="float32")
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
