"""Memory of a process with the engine: while loading, idle, and with many requests at once.

`python -m benchmarks.memory`: resident memory in GB (10^9 bytes), mapped files excluded. Of this project's
engine, the first start, which packs the weights and compiles the model, is not counted: what is measured are
the later ones, as a service has them. `python -m benchmarks.startup` starts the whole service and so includes
the web server.
"""

import argparse
from pathlib import Path
from typing import get_args

from benchmarks.contender_process import ContenderProcess
from benchmarks.contenders import NAMES, OPTIONAL, SERVED, entries
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.process_memory import PeakMemory
from benchmarks.results import RESULTS_DIR, markdown, progress, save
from benchmarks.workload import CannotRun, NotHere, Workload
from inference.engine.config import WeightDtype, usable_cpus

_NEW_TOKENS = 32


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a GPT-2; created if not given")
    parser.add_argument("--only", nargs="*", default=["served"], choices=list(NAMES), help="contenders")
    parser.add_argument(
        "--precisions",
        nargs="*",
        choices=get_args(WeightDtype),
        default=["auto", "float32", "int8", "int4"],
        help="measure these only; auto is this engine in the checkpoint's type",
    )
    parser.add_argument("--requests", type=int, default=16)
    parser.add_argument("--contexts", nargs="*", type=int, default=[8, 200])
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "memory.json")
    given = parser.parse_args(argv)
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    measured: dict[str, dict[str, int]] = {}
    paths: dict[str, str] = {}
    known = [*entries([peer for peer in OPTIONAL if peer in given.only]), *SERVED]
    for entry in known:
        if entry.module not in given.only or entry.precision not in given.precisions:
            continue
        progress(f"{entry.name} ...")
        try:
            if entry.ours:
                with ContenderProcess(entry, folder, threads=given.threads) as first:
                    first.wait_ready()
            with ContenderProcess(entry, folder, threads=given.threads) as process:
                with PeakMemory(process.process.pid) as loading:
                    process.wait_ready()
                paths[entry.name] = process.path
                progress(f"{entry.name}: {process.path}", last=True)
                figures = {"peak_loading": loading.peak_bytes, "idle": loading.now_bytes()}
                for context in given.contexts:
                    with PeakMemory(process.process.pid) as running:
                        process.run(
                            Workload(requests=given.requests, prompt_tokens=context, new_tokens=_NEW_TOKENS)
                        )
                    figures[f"running_{context}"] = running.peak_bytes
        except (CannotRun, NotHere) as error:
            progress(f"{entry.name} is left out: {error}", last=True)
            continue
        measured[entry.name] = figures
    save(given.out, about={"threads": given.threads, "paths": paths}, measured={"bytes": measured})
    head = [
        "GB of memory",
        "peak while loading",
        "loaded, idle",
        *(f"peak with {given.requests} requests after {context} tokens" for context in given.contexts),
        "peak while loading : idle",
    ]
    rows = [
        [
            name,
            *(f"{value / 1e9:.2f}" for value in figures.values()),
            f"{figures['peak_loading'] / max(1, figures['idle']):.2f}",
        ]
        for name, figures in measured.items()
    ]
    print(markdown(head, rows))


if __name__ == "__main__":
    main()
