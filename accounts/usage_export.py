"""Usage as rows for other programs: dictionaries, or CSV (RFC 4180) that is safe to open in a spreadsheet."""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from accounts.latency import Latency, Measure
from accounts.models import DailyUsage, Outcome

FIGURES = ("mean", "p50", "p95")
COLUMNS = (
    "day",
    "key_id",
    "key",
    "owner",
    "endpoint",
    *Outcome.values,
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    *(f"{measure}_{figure}_ms" for measure in Measure for figure in FIGURES),
)
# What a spreadsheet may take for the start of a formula (OWASP, "CSV Injection").
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


class _Line:
    """A file for `csv.writer` that returns each line instead of storing it."""

    def write(self, line: str) -> str:
        return line


def row(usage: DailyUsage) -> dict[str, str | int | None]:
    """The values of `COLUMNS` for one key, day and endpoint; `usage.key` should be loaded.

    Times are None where no request was measured.
    """
    return {
        "day": usage.day.isoformat(),
        "key_id": usage.key_id,
        "key": usage.key.name,
        "owner": usage.key.owner,
        "endpoint": usage.endpoint,
        **{outcome: getattr(usage, outcome) for outcome in Outcome.values},
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.tokens,
        **_times(usage),
    }


def _times(usage: DailyUsage) -> dict[str, int | None]:
    times: dict[str, int | None] = {}
    for measure in Measure:
        latency = Latency.of([getattr(usage, column) for column in measure.columns])
        for figure in FIGURES:
            name = f"{figure}_ms"
            times[f"{measure}_{name}"] = None if latency is None else round(getattr(latency, name))
    return times


def csv_lines(usages: Iterable[DailyUsage]) -> Iterator[str]:
    """Yield the lines of the CSV, the header first, then one for each key, day and endpoint."""
    writer: Any = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    for usage in usages:
        cells = row(usage)
        yield writer.writerow(
            as_text(cell) if isinstance(cell := cells[column], str) else cell for column in COLUMNS
        )


def as_text(cell: str) -> str:
    """The cell, prefixed with an apostrophe if a spreadsheet would run it as a formula."""
    return f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell
