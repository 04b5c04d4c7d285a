"""Runs the trials and prints a table: `python -m benchmarks.trial [NAME …]`. It ends with 1 if one failed."""

import argparse
import importlib
import pkgutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.results import markdown, progress
from benchmarks.trial import cases
from benchmarks.trial.place import Failed, Place, Trial, trials
from inference.quickstart import ensure_model
from llmservice.environment import BASE_DIR


def main(argv: list[str] | None = None) -> int:
    for module in pkgutil.iter_modules(cases.__path__):
        importlib.import_module(f"{cases.__name__}.{module.name}")
    given = arguments(argv)
    if given.list:
        for name, function in trials.items():
            print(f"{name}: {function.__doc__}")
        return 0
    chosen = {name: trials[name] for name in given.names or trials}
    model = given.model or ensure_model(BASE_DIR / "var", progress)
    rows = []
    for name, function in chosen.items():
        progress(f"{name} ...", last=True)
        rows.append([name, *run(function, model, given)])
        progress(" | ".join(rows[-1][1:]), last=True)
    print(markdown(["trial", "result", "seconds", "seen"], rows))
    return int(any(row[1] != "passed" for row in rows))


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.trial", description=__doc__)
    parser.add_argument(
        "names", nargs="*", choices=[*trials, []], metavar="NAME", help="all if none is given"
    )
    parser.add_argument("--list", action="store_true", help="say what each trial shows")
    parser.add_argument("--seconds", type=float, default=60, help="how long what has a length lasts")
    parser.add_argument(
        "--model", type=Path, help="folder of a model; the quick-start model if none is given"
    )
    parser.add_argument("--postgres", help="URL of a server whose user may create databases")
    return parser.parse_args(argv)


def run(function: Trial, model: Path, given: argparse.Namespace) -> list[str]:
    """Result, seconds and figures of one trial."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        place = Place(model=model, folder=Path(scratch), seconds=given.seconds, postgres=given.postgres)
        result = "passed"
        try:
            function(place)
        except Failed as failed:
            result = "FAILED"
            place.note(f"**{failed}**")
        except Exception as error:
            result = "FAILED"
            place.note(f"**{type(error).__name__}: {error}**")
    return [result, f"{time.monotonic() - began:.0f}", "; ".join(place.seen)]


if __name__ == "__main__":
    sys.exit(main())
