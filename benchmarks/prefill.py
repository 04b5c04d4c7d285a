"""Prompts: how close their computation comes to the limit, and how long a long one delays other requests.

`python -m benchmarks.prefill`: the time to the first token of a prompt alone, and the longest gap between two
tokens of running requests while a long prompt is computed, in units of their normal step.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.contenders.service import Service, config, load_with
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.limit import ModelSize
from benchmarks.machine import Meter
from benchmarks.results import RESULTS_DIR, markdown, progress, save, with_spread
from benchmarks.workload import NotHere, Workload
from inference.engine.config import usable_cpus
from inference.engine.generation import Generation
from inference.engine.request import GenerationRequest, SamplingParams

_POLL_S = 0.001
_CALM_STEPS = 16
_RUNNING_PROMPT = 8
_RUNNING_TOKENS = 400
"""Enough to run while the long prompt is computed, and few enough to leave it slots in the KV cache."""
_GREEDY = SamplingParams(do_sample=False)


@dataclass(frozen=True, kw_only=True)
class Disturbance:
    """The step time of running requests before a long prompt, and their longest gap while it is computed."""

    step_s: float
    longest_gap_s: float

    @property
    def steps(self) -> float:
        return self.longest_gap_s / self.step_s


def disturb(service: Service, *, streams: int, prompt_tokens: int, vocabulary: int) -> Disturbance:
    """Submit a prompt of `prompt_tokens` while `streams` requests generate."""
    new_tokens = min(_RUNNING_TOKENS, service.engine.context_length - _RUNNING_PROMPT)
    running = [
        _submit(service, prompt, new_tokens)
        for prompt in Workload(requests=streams, prompt_tokens=_RUNNING_PROMPT, new_tokens=1).prompts(
            vocabulary
        )
    ]
    try:
        while any(generation.completion_tokens < 2 for generation in running):
            time.sleep(_POLL_S)
        calm = _gaps(running, lambda: running[0].completion_tokens > _CALM_STEPS)
        (prompt,) = Workload(requests=1, prompt_tokens=prompt_tokens, new_tokens=1).prompts(vocabulary)
        long = _submit(service, prompt, 1)
        disturbed = _gaps(running, lambda: long.done)
        long.result()
    finally:
        for generation in running:
            generation.cancel()
    return Disturbance(step_s=statistics.median(calm), longest_gap_s=max(disturbed))


def _submit(service: Service, prompt: list[int], new_tokens: int) -> Generation:
    return service.engine.submit(
        service.engine.prepare(
            GenerationRequest(prompt=tuple(prompt), max_new_tokens=new_tokens, sampling=_GREEDY)
        )
    )


def _gaps(running: list[Generation], over: Callable[[], bool]) -> list[float]:
    """Seconds between two tokens of each request until `over`, observed from outside to a millisecond."""
    gaps: list[float] = []
    began = time.perf_counter()
    seen = [(generation.completion_tokens, began) for generation in running]
    while True:
        ending = over() or any(generation.done for generation in running)
        now = time.perf_counter()
        for i, generation in enumerate(running):
            tokens, at = seen[i]
            if generation.completion_tokens != tokens:
                seen[i] = (generation.completion_tokens, now)
                gaps.append(now - at)
            elif ending:
                gaps.append(now - at)  # the gap that is not closed yet
        if ending:
            return gaps
        time.sleep(_POLL_S)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a GPT-2; created if not given")
    parser.add_argument("--precision", nargs="*", default=["float32", "int8"])
    parser.add_argument("--prompt", type=int, default=200, help="tokens of the prompt that is computed alone")
    parser.add_argument("--long-prompt", type=int, default=1000)
    parser.add_argument("--streams", type=int, default=15)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "prefill.json")
    given = parser.parse_args(argv)
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    meter = Meter(threads=given.threads)
    rows, measured, paths = [], {}, {}
    for precision in given.precision:
        try:
            settings = config(precision=precision, threads=given.threads)
        except NotHere as error:
            progress(f"{precision} is left out: {error}", last=True)
            continue
        progress(f"Loading the engine in {precision} ...")
        service = load_with(folder, settings)
        progress(f"llmservice {precision}: {service.path}", last=True)
        paths[precision] = service.path
        try:
            figures = measure(service, meter, ModelSize.of_folder(folder), given, precision)
        finally:
            service.engine.stop()
        measured[precision] = figures
        rows.append(
            [
                precision,
                with_spread(figures["prefill_s"]),
                with_spread(given.prompt / s for s in figures["prefill_s"]),
                with_spread(figures["of_limit"]),
                with_spread(1000 * s for s in figures["step_s"]),
                with_spread(figures["longest_gap_steps"]),
            ]
        )
    save(given.out, about={"threads": given.threads, "paths": paths}, measured=measured)
    head = [
        f"{given.prompt} tokens alone",
        "s to first token",
        "prompt tokens/s",
        "of float32 limit",
        f"step of {given.streams}, ms",
        f"longest gap with {given.long_prompt} tokens, steps",
    ]
    print(markdown(head, rows))


def measure(
    service: Service, meter: Meter, size: ModelSize, given: argparse.Namespace, precision: str
) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {
        "prefill_s": [], "of_limit": [], "step_s": [], "longest_gap_steps": []
    }  # fmt: skip
    for number in range(given.rounds):
        progress(f"{precision}: round {number + 1} of {given.rounds} ...")
        least = size.prefill_s(meter.measure(), tokens=given.prompt)
        alone = service.run(Workload(requests=1, prompt_tokens=given.prompt, new_tokens=1))
        disturbance = disturb(
            service,
            streams=given.streams,
            prompt_tokens=given.long_prompt,
            vocabulary=service.vocabulary,
        )
        figures["prefill_s"].append(alone.prefill_s)
        figures["of_limit"].append(least / alone.prefill_s)
        figures["step_s"].append(disturbance.step_s)
        figures["longest_gap_steps"].append(disturbance.steps)
    return figures


if __name__ == "__main__":
    main()
