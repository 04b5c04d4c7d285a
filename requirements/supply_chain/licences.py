"""`make licences`: the licences of the packages that the service needs at run time, by their own metadata."""

import re
from collections import defaultdict
from importlib.metadata import Distribution, distribution
from pathlib import Path

LOCKS = Path(__file__).parent.parent / "lock"
RUN_TIME = ("base", "quickstart", "tracing")
# Locked for other systems, or for another Python.
ELSEWHERE = re.compile(r"; .*== '(win32|emscripten)'")
HEAD = """\
# Licences

The packages that the service uses at run time, with their licences as they state them. `make licences` writes
this page. Tests, checks and benchmarks use further packages (`requirements/dev.txt`, `bench.txt`).

| Licence | Packages |
|-|-|
"""


def run_time_packages() -> list[str]:
    """The names of the packages, torch included."""
    lines = [line for name in RUN_TIME for line in (LOCKS / f"{name}.txt").read_text().splitlines()]
    entries = [line for line in lines if re.match(r"\w", line) and not ELSEWHERE.search(line)]
    return sorted({re.split(r"\[|==", entry)[0] for entry in entries} | {"torch"})


def licence(package: Distribution) -> str:
    """The licence that a package states: an SPDX expression, or what it has instead."""
    metadata = package.metadata
    if expressions := metadata.get_all("License-Expression"):
        return str(expressions[0])
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    if classified:
        return " and ".join(sorted(set(classified)))
    first = str((metadata.get_all("License") or [""])[0]).strip().partition("\n")[0]
    return first if first and len(first) < 80 else "not stated"


def document() -> str:
    """The page."""
    packages: dict[str, list[str]] = defaultdict(list)
    for name in run_time_packages():
        packages[licence(distribution(name))].append(name)
    rows = [f"| {one} | {', '.join(names)} |" for one, names in sorted(packages.items(), key=_row)]
    return HEAD + "\n".join(rows) + "\n"


def _row(row: tuple[str, list[str]]) -> str:
    return row[0].lower()


if __name__ == "__main__":
    print(document(), end="")
