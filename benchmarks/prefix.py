"""The prefix cache: the time to the first token of prompts that begin alike, and what it costs where none do.

`python -m benchmarks.prefix`: a prompt with a long common beginning for the first and the second time, the
turns of a chat, and prompts without anything in common with and without the cache.
"""

import argparse
import statistics
from collections.abc import Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path

from benchmarks.contenders.service import Service, config, load_with
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.results import RESULTS_DIR, markdown, progress, save, with_spread
from inference.engine.config import PrefixSharing, usable_cpus
from inference.engine.generation import Completion, Generation
from inference.engine.request import GenerationRequest, SamplingParams

_GREEDY = SamplingParams(do_sample=False)
_OWN = 16
"""Tokens that each prompt has of its own after the common beginning."""
_POOL = 4096
"""Tokens of the KV cache. All are written once before anything is measured: then no memory is used for the
first time, and the prefix cache has to give up blocks, as in a service that has run for a while."""


class Prompts:
    """Token ids that no prompt before began with."""

    def __init__(self, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._numbers = count(1)

    def new(self, tokens: int) -> tuple[int, ...]:
        number = next(self._numbers)
        return tuple((7919 * i + 104729 * number) % (self._vocabulary - 1) for i in range(tokens))


def first_token_s(service: Service, prompt: tuple[int, ...]) -> float:
    """Seconds from the submission of a prompt to its first token."""
    return _seconds(_generate(service, prompt, 1)[0])


def chat(service: Service, prompts: Prompts, *, turns: int, tokens: int) -> list[float]:
    """Seconds to the first token of each turn; a question and its answer have `tokens` each."""
    text: tuple[int, ...] = ()
    seconds = []
    for _ in range(turns):
        text += prompts.new(tokens)
        generation, completion = _generate(service, text, tokens)
        seconds.append(_seconds(generation))
        text += completion.token_ids
    return seconds


def _generate(service: Service, prompt: tuple[int, ...], new: int) -> tuple[Generation, Completion]:
    request = GenerationRequest(prompt=prompt, max_new_tokens=new, sampling=_GREEDY, ignore_eos=True)
    generation = service.engine.submit(service.engine.prepare(request))
    return generation, generation.result()


def _seconds(generation: Generation) -> float:
    assert generation.first_token_s is not None  # noqa: S101
    return generation.first_token_s


def measure(service: Service, given: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds by what was measured, one for each round."""
    prompts = Prompts(service.vocabulary)
    progress("Filling the KV cache ...")
    for _ in range(_POOL // given.prefix + 1):
        first_token_s(service, prompts.new(given.prefix))
    figures: dict[str, list[float]] = {}

    def note(name: str, seconds: Iterable[float]) -> None:
        figures.setdefault(name, []).extend(seconds)

    for number in range(given.rounds):
        progress(f"Round {number + 1} of {given.rounds} ...")
        common = prompts.new(given.prefix)
        note("first time", [first_token_s(service, common + prompts.new(_OWN))])
        note("second time", [first_token_s(service, common + prompts.new(_OWN))])
        for turn, seconds in enumerate(
            chat(service, prompts, turns=given.turns, tokens=given.turn_tokens), 1
        ):
            note(f"turn {turn}", [seconds])
    return figures


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a GPT-2; created if not given")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--prefix", type=int, default=600, help="tokens of the common beginning")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--turn-tokens", type=int, default=50, help="tokens of a question, and of an answer")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "prefix.json")
    given = parser.parse_args(argv)
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    settings = config(precision=given.precision, threads=given.threads, kv_cache_tokens=_POOL)
    measured, path = {}, ""
    engines: dict[str, PrefixSharing] = {"with": "per_key", "without": "off"}
    for name, sharing in engines.items():
        progress(f"Loading the engine {name} the prefix cache ...")
        service = load_with(folder, replace(settings, prefix_cache=sharing))
        try:
            measured[name], path = measure(service, given), service.path
        finally:
            service.engine.stop()
    save(given.out, about={"threads": given.threads, "path": path}, measured=measured)
    rows = [
        [
            name,
            with_spread(1000 * s for s in measured["with"][name]),
            with_spread(1000 * s for s in without),
            f"{statistics.median(without) / statistics.median(measured['with'][name]):.2f}",
        ]
        for name, without in measured["without"].items()
    ]
    print(markdown(["Time to first token, ms", "with the prefix cache", "without", "ratio"], rows))


if __name__ == "__main__":
    main()
