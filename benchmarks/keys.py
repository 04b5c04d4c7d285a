"""The cost of a key per request: authentication, limits and accounting, on SQLite and PostgreSQL.

`python -m benchmarks.keys --postgres postgres://user@host:5432/postgres`: consecutive requests in one
process, and in several processes that share one key, which is the worst case. Without `--postgres` it
measures SQLite only. A failed request (such as "database is locked") ends the benchmark.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import databases
from benchmarks.results import RESULTS_DIR, markdown, progress, save
from llmservice.environment import BASE_DIR

PARTS = ("authenticate", "admit", "settle", "tell limits", "together")
# Limits that are checked and never reached.
LIMITS = ("--requests-per-minute=1000000", "--tokens-per-day=1000000000000", "--max-concurrent=1000")

Measured = list[dict[str, float]]


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=500, help="of each process")
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--postgres", help="URL of a server; its user must be allowed to create databases")
    parser.add_argument("--out", type=Path, default=RESULTS_DIR / "keys.json")
    given = parser.parse_args(argv)
    measured: dict[str, dict[int, Measured]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        kinds: dict[str, AbstractContextManager[dict[str, str]]] = {"SQLite": databases.sqlite(folder)}
        if given.postgres:
            kinds["PostgreSQL"] = databases.postgresql(given.postgres, folder)
        for kind, database in kinds.items():
            with database as env:
                for processes in given.processes:
                    progress(f"{kind}: {processes} at once ...")
                    measured.setdefault(kind, {})[processes] = run(env, processes, given.requests)
    summary = {
        kind: {
            processes: {part: percentiles([one[part] for one in requests]) for part in PARTS}
            for processes, requests in by_processes.items()
        }
        for kind, by_processes in measured.items()
    }
    save(given.out, about={"requests": given.requests}, measured={"milliseconds": summary})
    print(table(summary))


def run(env: Mapping[str, str], processes: int, requests: int) -> Measured:
    """Measure `requests` in each of the processes, which all start at the same moment."""
    create = [sys.executable, "manage.py", "create_key", f"{processes} processes", *LIMITS]
    made = subprocess.run(create, cwd=BASE_DIR, env=env, check=True, text=True, capture_output=True)
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
        for worker in workers:
            _say(worker, made.stdout.strip())
        for worker in workers:
            if _hear(worker) != "ready":
                sys.exit("A process could not start; its error is above.")
        for worker in workers:
            _say(worker, "go")
        answers = [_hear(worker) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    if not all(answers):
        sys.exit("A request failed; its error is above.")
    return [request for answer in answers for request in json.loads(answer)]


def percentiles(values: list[float]) -> dict[str, float]:
    """The median, the 10th percentile (the time while nothing else runs) and the 95th."""
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    return {f"p{percent}": round(cuts[percent // 5 - 1], 3) for percent in (10, 50, 95)}


def table(summary: Mapping[str, Mapping[int, Mapping[str, Mapping[str, float]]]]) -> str:
    rows = [
        [
            kind,
            str(processes),
            *(f"{parts[part]['p50']:.2f}" for part in PARTS),
            *(f"{parts['together'][name]:.2f}" for name in ("p10", "p95")),
        ]
        for kind, by_processes in summary.items()
        for processes, parts in by_processes.items()
    ]
    return markdown(["database", "processes", *(f"{part}, ms" for part in PARTS), "p10", "p95"], rows)


def _say(worker: "subprocess.Popen[str]", line: str) -> None:
    assert worker.stdin is not None  # noqa: S101
    worker.stdin.write(f"{line}\n")
    worker.stdin.flush()


def _hear(worker: "subprocess.Popen[str]") -> str:
    assert worker.stdout is not None  # noqa: S101
    return worker.stdout.readline().strip()


if __name__ == "__main__":
    main()
