"""Generated tokens per second of this engine and its peers, with the same weights, in turn.

`python -m benchmarks.throughput`, or `make bench`. Each round runs every contender through every load, one
after the other (A B A B), and measures the machine, so that other load on the machine affects all alike.
"""

import argparse
import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contender_process import ContenderProcess
from benchmarks.contenders import NAMES, OPTIONAL, OWN_TYPE, PRECISIONS, Entry, entries
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.limit import ModelSize
from benchmarks.machine import Meter
from benchmarks.results import RESULTS_DIR, progress, save
from benchmarks.throughput_table import Load, Round, table
from benchmarks.workload import CannotRun, NotHere, Workload
from inference.engine.config import usable_cpus
from llmservice.spare_memory import available_bytes


def decode_steps(requests: int) -> int:
    """Steps to time: 24 for one request, 12 for sixteen, because steps of more requests take longer."""
    return max(8, round(24 / math.pow(requests, 0.25)))


def measure_round(
    contenders: list[ContenderProcess], loads: list[Load], meter: Meter, *, sampled: bool, title: str
) -> Round:
    """Measure every contender once at every load. A contender whose process ends is left out from then on; a
    load that it cannot run has no figure."""
    rates: dict[str, dict[Load, float]] = {}
    prefill_s: dict[str, dict[Load, float]] = {}
    power = meter.measure()
    for load in loads:
        for contender in list(contenders):
            name = contender.entry.name
            progress(f"{title}: {load}: {name} ...")
            workload = Workload(
                requests=load.requests,
                prompt_tokens=load.context,
                new_tokens=1 + decode_steps(load.requests),
                sampled=sampled,
            )
            try:
                timing = contender.run(workload)
            except CannotRun as error:
                progress(f"{name} cannot run {load}: {error}", last=True)
                continue
            except NotHere as error:
                progress(f"{name} is left out: {error}", last=True)
                contenders.remove(contender)
                continue
            rates.setdefault(name, {})[load] = timing.decode_rate
            prefill_s.setdefault(name, {})[load] = timing.prefill_s
    return Round(power=power, rates=rates, prefill_s=prefill_s)


_KEPT_FREE = 4
"""Times the checkpoint's size: for one more contender while it loads, and for keys and values of all."""


def start(chosen: list[Entry], folder: Path, *, threads: int, stack: ExitStack) -> list[ContenderProcess]:
    """Load the contenders one after the other and report each one's path; leave out those that cannot run.

    Raises:
        SystemExit: the memory is too small for all of them. Without this, the machine would stand still.
    """
    needed = _KEPT_FREE * sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    ready = []
    for entry in chosen:
        if (available := available_bytes()) < needed:
            sys.exit(
                f"{entry.name} needs up to {needed / 1e9:.1f} GB of memory, and {available / 1e9:.1f} GB are "
                "available. Measure fewer contenders at a time (--only, --precisions)."
            )
        progress(f"Loading {entry.name} (converts the weights the first time) ...")
        try:
            contender = stack.enter_context(ContenderProcess(entry, folder, threads=threads))
            contender.wait_ready()
        except NotHere as error:
            progress(f"{entry.name} is left out: {error}", last=True)
        else:
            progress(f"{entry.name}: {contender.path}", last=True)
            ready.append(contender)
    return ready


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a GPT-2; created if not given")
    parser.add_argument("--peers", nargs="*", default=[], choices=list(OPTIONAL), help="optional peers")
    parser.add_argument("--only", nargs="*", choices=list(NAMES), help="measure these only")
    parser.add_argument("--checkpoint", choices=["float32", "bfloat16"], default="float32", help="its type")
    parser.add_argument(
        "--precisions",
        nargs="*",
        choices=list(PRECISIONS),
        help="measure these only (all, if not given, but this engine's auto: the checkpoint's own type)",
    )
    parser.add_argument("--requests", nargs="*", type=int, default=[1, 4, 16, 64])
    parser.add_argument("--contexts", nargs="*", type=int, default=[8, 200])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=20, help="start no round that would end later")
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--sampled", action="store_true", help="temperature 0.7, top-k 50 instead of greedy")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "throughput.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    given = arguments(argv)
    began = time.monotonic()
    folder = given.model or ensure_gpt2_medium(
        dtype=given.checkpoint, say=lambda text: progress(text, last=True)
    )
    size = ModelSize.of_folder(folder)
    loads = [Load(requests=r, context=c) for c in given.contexts for r in given.requests]
    chosen = [
        entry
        for entry in entries(given.peers)
        if (entry.precision in given.precisions if given.precisions else entry != OWN_TYPE)
        and (given.only is None or entry.module in given.only)
    ]
    rounds: list[Round] = []
    with ExitStack() as stack:
        contenders = start(chosen, folder, threads=given.threads, stack=stack)
        versions = {name: version for c in contenders for name, version in c.versions.items()}
        paths = {c.entry.name: c.path for c in contenders}
        meter = Meter(threads=given.threads)
        longest = 0.0
        try:
            while len(rounds) < given.rounds and contenders:
                if rounds and time.monotonic() - began + longest > 60 * given.minutes:
                    progress(f"Stopped after {len(rounds)} rounds: --minutes is reached.", last=True)
                    break
                round_began = time.monotonic()
                title = f"Round {len(rounds) + 1} of {given.rounds}"
                rounds.append(measure_round(contenders, loads, meter, sampled=given.sampled, title=title))
                longest = max(longest, time.monotonic() - round_began)
                # Saved after each round, so that an interrupted run keeps its figures.
                about = {
                    "threads": given.threads, "sampled": given.sampled, "versions": versions, "paths": paths
                }  # fmt: skip
                save(given.out, about=about, measured={"rounds": [r.as_json() for r in rounds]})
        except KeyboardInterrupt:
            progress("Interrupted: these are the complete rounds.", last=True)
    if not rounds:
        sys.exit("No round was completed, so there are no figures.")
    progress(f"The figures of each round are in {given.out}.", last=True)
    print(table(rounds, loads, size))


if __name__ == "__main__":
    main()
