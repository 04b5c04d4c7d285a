"""Runs the checks of each client against the service and prints a table: `python -m benchmarks.clients`.

It ends with 1 if one failed. The service is started on the quick-start model with a fresh database, unless
`--url` names one that runs.
"""

import argparse
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.clients import cases
from benchmarks.clients.client import Served
from benchmarks.clients.one import FAILED
from benchmarks.http.servers import llmservice, served_model
from benchmarks.results import markdown, progress
from inference.engine.config import usable_cpus
from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR, DEFAULT_API_KEY

CLIENTS = [module.name for module in pkgutil.iter_modules(cases.__path__)]
PYTHON = BASE_DIR / "var" / "clients" / "venv" / "bin" / "python"
"""The Python that `make clients` gives the clients; the one that runs this has too few packages for all."""
WITHIN_S = 900


def main(argv: list[str] | None = None) -> int:
    given = arguments(argv)
    rows = []
    with tempfile.TemporaryDirectory() as scratch, service(given, Path(scratch)) as served:
        for name in given.names or CLIENTS:
            progress(f"{name} ...", last=True)
            rows += run(name, served, given.python)
    print(markdown(["client", "version", "tried", "result", "seen"], rows))
    return int(any(row[3] == FAILED for row in rows))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.clients", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*CLIENTS, []], metavar="CLIENT", help=f"of {', '.join(CLIENTS)}"
    )
    parser.add_argument("--model", type=Path, help="folder of the model; the quick-start model if not given")
    parser.add_argument("--url", help="of a service that runs already, with the same model")
    parser.add_argument("--key", default=DEFAULT_API_KEY, help="the secret for --url")
    parser.add_argument(
        "--python",
        type=Path,
        default=PYTHON if PYTHON.exists() else Path(sys.executable),
        help="that has the clients' packages; by default what `make clients` installed",
    )
    return parser.parse_args(argv)


@contextmanager
def service(given: argparse.Namespace, scratch: Path) -> Iterator[Served]:
    """The service that the clients speak to, ready."""
    folder = (given.model or ensure_model(BASE_DIR / "var", progress)).resolve()
    if given.url:
        yield _served(given.url.rstrip("/"), given.key, folder, scratch)
        return
    progress("Starting the service ...")
    with llmservice(folder, scratch, threads=usable_cpus()) as server:
        server.wait_ready()
        yield _served(server.url, server.key, folder, scratch)


def _served(url: str, key: str, folder: Path, scratch: Path) -> Served:
    return Served(url=url, key=key, model=served_model(url, key), folder=folder, scratch=scratch)


def run(name: str, served: Served, python: Path) -> list[list[str]]:
    """A row for each check of a client; what the client printed goes to stderr if one failed."""
    rows_file, log = served.scratch / f"{name}.rows", served.scratch / f"{name}.log"
    offline = {"HF_HOME": str(served.scratch / "huggingface"), "HF_HUB_OFFLINE": "1"}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("OPENAI_", "LLM_", "LANGSMITH_"))}
    ended: int | None = None
    with log.open("w") as output, suppress(subprocess.TimeoutExpired):
        ended = subprocess.run(
            [str(python), "-m", "benchmarks.clients.one", name, str(rows_file)],
            cwd=BASE_DIR,
            env=inherited | offline,
            input=served.to_json(),
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=WITHIN_S,
            check=False,
        ).returncode
    rows = [json.loads(line) for line in rows_file.read_text().splitlines()] if rows_file.exists() else []
    if ended is None:
        rows.append([name, "-", "ending", FAILED, f"it still ran after {WITHIN_S} s"])
    elif ended:
        last = log.read_text().strip().rpartition("\n")[2]
        rows.append([name, "-", "running", FAILED, f"{last} (`make clients` installs the clients)"])
    if any(row[3] == FAILED for row in rows):
        progress(log.read_text()[-4000:], last=True)
    return [[cell.replace("\n", " ").replace("|", "\\|") for cell in row] for row in rows]


if __name__ == "__main__":
    sys.exit(main())
