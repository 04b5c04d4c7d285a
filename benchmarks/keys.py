"""The cost of a key per request: authentication, limits and accounting, on SQLite and PostgreSQL.

`python -m benchmarks.keys --postgres postgres://user@host:5432/postgres`: consecutive requests in one
process, and in several processes that share one key, which is the worst case. Without `--postgres` it
measures SQLite only. A failed request (such as "database is locked") ends the benchmark.

`--keys each` gives every process a key of its own. The rate is that of all processes together; their own work
shares the CPUs. `server ms` is the CPU time of PostgreSQL's processes for a request, if they run here and
nothing else uses them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cpu_time, databases
from benchmarks.results import RESULTS_DIR, markdown, progress, save
from llmservice.environment import BASE_DIR

PARTS = ("authenticate", "admit", "settle", "tell limits", "together")
# Limits that are checked and never reached.
LIMITS = ("--requests-per-minute=1000000", "--tokens-per-day=1000000000000", "--max-concurrent=1000")

ENDS = ("p10", "p95", "a second", "server ms")

Measured = list[dict[str, float]]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=500, help="of each process")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--keys", choices=["shared", "each"], default="shared", help="one key, or one each")
    parser.add_argument("--postgres", help="URL of a server; its user must be allowed to create databases")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "keys.json")
    given = parser.parse_args(argv)
    measured: dict[str, dict[int, Measured]] = {}
    rates: dict[str, dict[int, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kinds: dict[str, AbstractContextManager[dict[str, str]]] = {"SQLite": databases.sqlite(folder)}
        if given.postgres:
            kinds["PostgreSQL"] = databases.postgresql(given.postgres, folder)
        for kind, database in kinds.items():
            with database as env:
                for processes in given.processes:
                    progress(f"{kind}: {processes} at once ...")
                    before_s = cpu_time.of("postgres")
                    found = run(env, processes, given.requests, keys=processes if given.keys == "each" else 1)
                    measured.setdefault(kind, {})[processes] = found.requests
                    server_s = cpu_time.of("postgres") - before_s
                    rates.setdefault(kind, {})[processes] = {
                        "a second": round(len(found.requests) / found.elapsed_s, 1),
                        "server ms": round(1000 * server_s / len(found.requests), 3),
                    }
    summary = {
        kind: {
            processes: {part: percentiles([one[part] for one in requests]) for part in PARTS}
            for processes, requests in by_processes.items()
        }
        for kind, by_processes in measured.items()
    }
    about = {"requests": given.requests, "keys": given.keys}
    save(given.out, about=about, measured={"milliseconds": summary, "rates": rates})
    print(table(summary, rates))


@dataclass(frozen=True)
class Run:
    """The requests of all processes, and how long all of them took together."""

    requests: Measured
    elapsed_s: float


def run(env: Mapping[str, str], processes: int, requests: int, *, keys: int) -> Run:
    """Measure `requests` in each of the processes, which all start at the same moment."""
    secrets = [_secret(env, f"{processes} processes, key {number}") for number in range(keys)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.keys_worker", str(requests)],
            cwd=BASE_DIR,
            env=env,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(processes)
    ]
    try:
        for number, worker in enumerate(workers):
            _say(worker, secrets[number % keys])
        for worker in workers:
            if _hear(worker) != "ready":
                sys.exit("A process could not start; its error is above.")
        began = time.perf_counter()
        for worker in workers:
            _say(worker, "go")
        answers = [_hear(worker) for worker in workers]
        elapsed_s = time.perf_counter() - began
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    if not all(answers):
        sys.exit("A request failed; its error is above.")
    return Run([request for answer in answers for request in json.loads(answer)], elapsed_s)


def _secret(env: Mapping[str, str], name: str) -> str:
    create = [sys.executable, "manage.py", "create_key", name, *LIMITS]
    made = subprocess.run(create, cwd=BASE_DIR, env=env, check=True, text=True, capture_output=True)
    return made.stdout.strip()


def percentiles(values: list[float]) -> dict[str, float]:
    """The median, the 10th percentile (the time while nothing else runs) and the 95th."""
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {f"p{percent}": round(cuts[percent // 5 - 1], 3) for percent in (10, 50, 95)}


def table(
    summary: Mapping[str, Mapping[int, Mapping[str, Mapping[str, float]]]],
    rates: Mapping[str, Mapping[int, Mapping[str, float]]],
) -> str:
    rows = [
        [
            kind,
            str(processes),
            *(f"{parts[part]['p50']:.2f}" for part in PARTS),
            *(f"{parts['together'][name]:.2f}" for name in ("p10", "p95")),
            f"{rates[kind][processes]['a second']:.0f}",
            f"{rates[kind][processes]['server ms']:.2f}",
        ]
        for kind, by_processes in summary.items()
        for processes, parts in by_processes.items()
    ]
    return markdown(["database", "processes", *(f"{part}, ms" for part in PARTS), *ENDS], rows)


def _say(worker: "subprocess.Popen[str]", line: str) -> None:
    assert worker.stdin is not None  # noqa: S101
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()


def _hear(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None  # noqa: S101
    return worker.stdout.readline().strip()


if __name__ == "__main__":
    main()
