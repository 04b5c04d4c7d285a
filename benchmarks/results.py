"""Saving results, formatting them, and reporting progress."""

import json
import statistics
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.machine import describe

RESULTS_DIR = Path(__file__).resolve().parent / "results"


def save(path: Path, *, about: dict[str, Any], measured: dict[str, Any]) -> None:
    """Write a result with the machine and the time; it replaces the previous one."""
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": describe(),
        **about,
        **measured,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    unfinished.replace(path)


def progress(text: str, *, last: bool = False) -> None:
    """Report progress on stderr. In a terminal it overwrites its line, unless `last` keeps it."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="\n" if last else "", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def with_spread(values: Iterable[float], digits: int = 3) -> str:
    """The median and, if there are several values, half their range in percent of it; "-" for no value."""
    found = list(values)
    if not found:
        return "-"
    middle = statistics.median(found)
    text = f"{middle:.{digits}g}" if middle < 10 ** (digits - 1) else f"{middle:.0f}"
    if len(found) == 1 or middle == 0:
        return text
    return f"{text} ±{50 * (max(found) - min(found)) / middle:.0f}%"


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with aligned columns."""
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: list[str]) -> str:
        padded = [
            cells[0].ljust(widths[0]),
            *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True)),
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(head), line(rule), *(line(row) for row in rows)])
