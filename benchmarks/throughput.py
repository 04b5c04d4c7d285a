"""Generated tokens a second of this engine and of its peers, with the same weights, in turn.

`python -m benchmarks.throughput`, or `make bench`. Each round takes every contender through every load, one
after the other (A B A B), and measures the machine, so that what the machine does meanwhile hits all alike.
"""

import argparse
import math
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contender_process import ContenderProcess
from benchmarks.contenders import NAMES, OPTIONAL, Entry, entries
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.limit import ModelSize
from benchmarks.machine import Meter
from benchmarks.results import RESULTS_DIR, progress, save
from benchmarks.throughput_table import Load, Round, table
from benchmarks.workload import NotHere, Workload
from inference.engine.config import usable_cpus


def decode_steps(requests: int) -> int:
    """Fewer for more requests, which take longer: 24 for one, 12 for sixteen."""
    return max(8, round(24 / math.pow(requests, 0.25)))


def measure_round(
    contenders: list[ContenderProcess], loads: list[Load], meter: Meter, *, sampled: bool, title: str
) -> Round:
    """Every contender at every load, once; one that fails is left out from there on."""
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
            except NotHere as error:
                progress(f"{name} is left out: {error}", last=True)
                contenders.remove(contender)
                continue
            rates.setdefault(name, {})[load] = timing.decode_rate
            prefill_s.setdefault(name, {})[load] = timing.prefill_s
    return Round(power=power, rates=rates, prefill_s=prefill_s)


def start(chosen: list[Entry], folder: Path, *, threads: int, stack: ExitStack) -> list[ContenderProcess]:
    """Load the contenders one after the other; one that cannot run here is left out with a word."""
    ready = []
    for entry in chosen:
        progress(f"Loading {entry.name} (the first time, its weights are converted) ...")
        try:
            contender = stack.enter_context(ContenderProcess(entry, folder, threads=threads))
            contender.wait_ready()
        except NotHere as error:
            progress(f"{entry.name} is left out: {error}", last=True)
        else:
            ready.append(contender)
    return ready


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a GPT-2; made where none is given")
    parser.add_argument("--peers", nargs="*", default=[], choices=list(OPTIONAL), help="further peers")
    parser.add_argument("--only", nargs="*", choices=list(NAMES), help="leave all others out")
    parser.add_argument("--requests", nargs="*", type=int, default=[1, 4, 16])
    parser.add_argument("--contexts", nargs="*", type=int, default=[8, 200])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=9, help="begin no round that would end later")
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--sampled", action="store_true", help="temperature 0.7, top-k 50 instead of greedy")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "throughput.json")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    given = arguments(argv)
    began = time.monotonic()
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    size = ModelSize.of_folder(folder)
    loads = [Load(requests=r, context=c) for c in given.contexts for r in given.requests]
    chosen = [e for e in entries(given.peers) if given.only is None or e.module in given.only]
    rounds: list[Round] = []
    with ExitStack() as stack:
        contenders = start(chosen, folder, threads=given.threads, stack=stack)
        versions = {name: version for c in contenders for name, version in c.versions.items()}
        meter = Meter(threads=given.threads)
        longest = 0.0
        try:
            while len(rounds) < given.rounds and contenders:
                if rounds and time.monotonic() - began + longest > 60 * given.minutes:
                    progress(f"The time is over after {len(rounds)} rounds.", last=True)
                    break
                round_began = time.monotonic()
                title = f"Round {len(rounds) + 1} of {given.rounds}"
                rounds.append(measure_round(contenders, loads, meter, sampled=given.sampled, title=title))
                longest = max(longest, time.monotonic() - round_began)
                # Kept after each round, so that one who interrupts it has what was measured.
                about = {"threads": given.threads, "sampled": given.sampled, "versions": versions}
                save(given.out, about=about, measured={"rounds": [r.as_json() for r in rounds]})
        except KeyboardInterrupt:
            progress("Interrupted: this is what the finished rounds say.", last=True)
    if not rounds:
        sys.exit("Nothing was measured.")
    progress(f"{given.out} has the figures of each round.", last=True)
    print(table(rounds, loads, size))


if __name__ == "__main__":
    main()
