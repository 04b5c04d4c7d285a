"""Time from the start of the process to `/ready`, and the whole service's memory until then and afterwards.

`python -m benchmarks.startup`: the real gunicorn on an existing database. The first start, which fills the
page cache and writes the packed weights, is not counted.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.contenders.service import config
from benchmarks.gpt2_medium import ensure_gpt2_medium
from benchmarks.http.servers import llmservice
from benchmarks.process_memory import PeakMemory, cpu_seconds, family
from benchmarks.results import RESULTS_DIR, markdown, progress, save, with_spread
from benchmarks.workload import NotHere
from inference.engine.config import usable_cpus


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, help="folder of a model; GPT-2 medium's shape if not given")
    parser.add_argument("--precision", nargs="*", default=["float32", "int8"])
    parser.add_argument("--packed-weights", default="on", choices=["on", "off"], help="LLM_PACKED_WEIGHTS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=usable_cpus())
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "startup.json")
    given = parser.parse_args(argv)
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
        with tempfile.TemporaryDirectory() as scratch:
            for number in range(1 + given.rounds):
                progress(f"{precision}: start {number} of {given.rounds} ...")
                figures, path = start_once(folder, Path(scratch), threads=given.threads, **settings)
                if number > 0:
                    measured.setdefault(precision, []).append(figures)
                else:
                    progress(f"llmservice {precision}: {path}", last=True)
                    paths[precision] = path
    save(given.out, about={"threads": given.threads, "paths": paths}, measured={"starts": measured})
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
    print(markdown(head, rows))


def start_once(folder: Path, var_dir: Path, *, threads: int, **settings: str) -> tuple[dict[str, float], str]:
    """Start the service, wait until it is ready, stop it; returns the figures and its path."""
    with (
        llmservice(folder, var_dir, threads=threads, **settings) as server,
        PeakMemory(server.process.pid) as memory,
    ):
        ready_s = server.wait_ready()
        figures = {
            "ready_s": ready_s,
            "cpu_s": sum(map(cpu_seconds, family(server.process.pid))),
            "peak_bytes": memory.peak_bytes,
            "ready_bytes": memory.now_bytes(),
        }
        return figures, server.compute_path()


if __name__ == "__main__":
    main()
