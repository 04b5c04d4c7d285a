"""Time from the start of the process to `/ready`, and the whole service's memory until then and afterwards.

`python -m benchmarks.startup`: the real gunicorn on an existing database. The first start, which fills the
page cache and writes the packed weights, is not counted. `--workers 1 2` shows what a second worker adds.
With `--upstream`: the container's command in front of another engine, which answers at once; `--python` may
name one that has only the packages of that role.
"""

import argparse
import itertools
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.contenders.service import config
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.http.servers import SERVE, Server, llmservice
from benchmarks.process_memory import PeakMemory, cpu_seconds, family
from benchmarks.results import RESULTS_DIR, markdown, progress, save, with_spread
from benchmarks.stub_engine import stub_engine
from benchmarks.workload import NotHere
from inference.engine.config import usable_cpus


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a model; GPT-2 medium's shape if not given")
    parser.add_argument("--precision", nargs="*", default=["float32", "int8"])
    parser.add_argument("--packed-weights", default="on", choices=["on", "off"], help="LLM_PACKED_WEIGHTS")
    parser.add_argument("--workers", nargs="*", type=int, default=[1], help="numbers of gunicorn's workers")
    parser.add_argument("--upstream", action="store_true", help="measure a service in front of an engine")
    parser.add_argument("--python", default=sys.executable, help="of the service with --upstream")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "startup.json")
    given = parser.parse_args(argv)
    if given.upstream:
        print(table({"in front of an engine": upstream_starts(given.rounds, python=given.python)}))
        return
    folder = given.model or ensure_gpt2_medium(say=lambda text: progress(text, last=True))
    measured: dict[str, list[dict[str, float]]] = {}
    paths: dict[str, str] = {}
    for precision in given.precision:
        try:
            config(precision=precision, threads=given.threads)
        except NotHere as error:
            progress(f"{precision} is left out: {error}", last=True)
            continue
        settings = {"LLM_DTYPE": precision, "LLM_PACKED_WEIGHTS": given.packed_weights}
        planned = [(0, given.workers[0]), *itertools.product(range(1, 1 + given.rounds), given.workers)]
        with tempfile.TemporaryDirectory() as scratch:
            for number, workers in planned:
                progress(f"{precision}: start {number} of {given.rounds} ...")
                figures, path = start_once(
                    folder, Path(scratch), threads=given.threads, workers=workers, **settings
                )
                if number > 0:
                    name = precision if workers == 1 else f"{precision}, {workers} workers"
                    measured.setdefault(name, []).append(figures)
                else:
                    progress(f"llmservice {precision}: {path}", last=True)
                    paths[precision] = path
    save(given.out, about={"threads": given.threads, "paths": paths}, measured={"starts": measured})
    print(table(measured))


def table(measured: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """The figures of all starts by what has started, for people to read."""
    rows = [
        [
            precision,
            with_spread(start["ready_s"] for start in starts),
            with_spread(start["cpu_s"] for start in starts),
            with_spread(start["peak_bytes"] / 1e9 for start in starts),
            with_spread(start["ready_bytes"] / 1e9 for start in starts),
            with_spread(start["peak_bytes"] / max(1, start["ready_bytes"]) for start in starts),
        ]
        for precision, starts in measured.items()
    ]
    head = ["service", "s to /ready", "CPU s until then", "GB, peak until then", "GB, ready", "peak : ready"]
    return markdown(head, rows)


def start_once(
    folder: Path, var_dir: Path, *, threads: int, workers: int, **settings: str
) -> tuple[dict[str, float], str]:
    """Start the service, wait until all workers are ready, stop it; returns the figures and its path."""
    with (
        llmservice(folder, var_dir, threads=threads, WEB_CONCURRENCY=str(workers), **settings) as server,
        PeakMemory(server.process.pid) as memory,
    ):
        return figures_of(server, memory, workers=workers), server.compute_path()


def upstream_starts(rounds: int, *, python: str) -> list[dict[str, float]]:
    """Starts of the service in front of an engine, by `manage.py serve`; the first is not counted."""
    starts = []
    with tempfile.TemporaryDirectory() as scratch, stub_engine() as url:
        settings = {"LLM_BACKEND": "upstream", "LLM_UPSTREAM_URL": url}
        for number in range(1 + rounds):
            progress(f"start {number} of {rounds} ...")
            with (
                llmservice(
                    Path("none"), Path(scratch), threads=1, command=SERVE, python=python, **settings
                ) as server,
                PeakMemory(server.process.pid) as memory,
            ):
                starts.append(figures_of(server, memory))
    return starts[1:]


def figures_of(server: Server, memory: PeakMemory, *, workers: int = 1) -> dict[str, float]:
    """Wait until all workers are ready; returns the figures of this start."""
    ready_s = server.wait_ready(workers=workers)
    ready_bytes = memory.now_bytes()
    return {
        "ready_s": ready_s,
        "cpu_s": sum(map(cpu_seconds, family(server.process.pid))),
        # The last sample may be from before the weights were read: a warm start is that short.
        "peak_bytes": max(memory.peak_bytes, ready_bytes),
        "ready_bytes": ready_bytes,
    }


if __name__ == "__main__":
    main()
